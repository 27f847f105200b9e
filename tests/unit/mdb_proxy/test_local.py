"""What we answer ourselves, to whom, and with which fields."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from bson import Binary, Int64, ObjectId

from mdb_engine.exceptions import RefusedError
from mdb_engine.rawbson import encode
from mdb_engine.scope.commands import COMMANDS
from mdb_engine.scope.model import Features, Limits, Role
from mdb_proxy.auth import MECHANISMS, Guest
from mdb_proxy.channel import Channel
from mdb_proxy.directory import Directory
from mdb_proxy.holds import TENANT_COMMANDS
from mdb_proxy.local import ELSEWHERE, LOCAL, Caller, Visit, answer
from mdb_proxy.sasl import COMMANDS as SASL
from tests.support.talks import NOW, SECRET, credential, decoded, lossless, scope

DIRECTORY = Directory({}, {}, SECRET, "db.example.com:27018", "6.0.5", 17, Features((6, 0)))


def visit(role: str | None = "readWrite", **more: Any) -> Visit:
    limits = Limits(max_connections=5)
    caller = role and Caller("bot", scope(limits=limits, role=Role(role)))
    given: dict[str, Any] = {
        "directory": DIRECTORY,
        "caller": caller or None,
        "channel": Channel("10.0.0.9:50000"),
        "connection": 3,
        "now": NOW,
        "started": NOW - timedelta(seconds=90),
        "random": bytes,
        "compressors": ("zlib", "zstd"),
        "clients": 2,
    }
    return Visit(**{**given, **more})


def ask(command: Mapping[str, Any], who: Visit | None = None) -> dict[str, Any]:
    given = {"$db": "admin", **command}
    ordered = {**command, "$db": given["$db"]}
    return decoded(encode(answer(lossless(ordered), who or visit())))


HELLO = {
    "msg": "isdbgrid",
    "maxBsonObjectSize": 16_777_216,
    "maxMessageSizeBytes": 45_000_000,
    "maxWriteBatchSize": 10_000,
    "localTime": NOW,
    "logicalSessionTimeoutMinutes": 30,
    "connectionId": 3,
    "minWireVersion": 0,
    "maxWireVersion": 17,
    "readOnly": False,
    "ok": 1.0,
}
PYMONGO = {
    "client": {
        "driver": {"name": "PyMongo|async", "version": "4.20.0"},
        "os": {"type": "Linux", "name": "Linux", "architecture": "x86_64", "version": "6.1"},
        "platform": "CPython 3.11.7.final.0",
    },
    "compression": [],
    "backpressure": "2",
}


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ({"hello": 1}, {"isWritablePrimary": True}),
        ({"isMaster": 1}, {"ismaster": True}),
        ({"ismaster": 1, "helloOk": True}, {"ismaster": True, "helloOk": True}),
        ({"ismaster": 1, "helloOk": False}, {"ismaster": True}),
        (
            {"hello": 1, "helloOk": True, **PYMONGO},
            {"isWritablePrimary": True, "helloOk": True, "compression": []},
        ),
        (
            {"hello": 1, "topologyVersion": {"processId": 1}, "maxAwaitTimeMS": Int64(10_000)},
            {"isWritablePrimary": True},
        ),
        ({"hello": 1, "internalClient": 1, "somethingNew": [1]}, {"isWritablePrimary": True}),
        ({"hello": 1, "loadBalanced": True}, {"isWritablePrimary": True}),
        ({"hello": 1, "client": None}, {"isWritablePrimary": True}),
        (
            {"hello": 1, "compression": ["snappy", "zstd", "zlib", "zstd", 1, ["z", "l"]]},
            {"isWritablePrimary": True, "compression": ["zstd", "zlib"]},
        ),
        ({"hello": 1, "compression": [["z", "l", "i", "b"]]},
         {"isWritablePrimary": True, "compression": []}),
        ({"hello": 1, "compression": "zlib"}, {"isWritablePrimary": True}),
        *[
            (
                {"hello": 1, "saslSupportedMechs": name},
                {"isWritablePrimary": True, "saslSupportedMechs": ["SCRAM-SHA-256"]},
            )
            for name in ("admin.bot", "admin.nobody", "nonsense", 5)
        ],
    ],
)  # fmt: skip
@pytest.mark.parametrize("who", [visit(), visit(None)])
def test_hello(command: dict[str, Any], more: dict[str, Any], who: Visit) -> None:
    assert ask(command, who) == HELLO | more


@pytest.mark.parametrize(
    ("client", "text"),
    [
        ("me", "must be an object"),
        (1, "must be an object"),
        ({"application": {"name": "x" * 512}}, "at most 512 bytes"),
    ],
)
def test_client_metadata_is_looked_at(client: Any, text: str) -> None:
    with pytest.raises(RefusedError, match=text) as caught:
        ask({"hello": 1, "client": client})
    assert (caught.value.code, caught.value.at) == (2, "client")


BUILD = {
    "version": "6.0.5",
    "gitVersion": "",
    "modules": [],
    "javascriptEngine": "none",
    "versionArray": [6, 0, 5, 0],
    "bits": 64,
    "debug": False,
    "maxBsonObjectSize": 16_777_216,
}
READ_WRITE = [{"role": "readWrite", "db": "shop"}, {"role": "dbAdmin", "db": "shop"}]
USER = {
    "_id": "shop.bot",
    "user": "bot",
    "db": "shop",
    "roles": READ_WRITE,
    "mechanisms": ["SCRAM-SHA-256"],
}
AUTH = {"authenticatedUsers": [{"user": "bot", "db": "shop"}], "authenticatedUserRoles": READ_WRITE}


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ({"ping": 1}, {}),
        ({"driverOIDTest": 1}, {}),
        ({"availableQueryOptions": 1}, {"options": {}}),
        ({"features": 1, "oidReset": 1}, {"oidMachine": 0}),
        ({"buildInfo": 1}, BUILD),
        ({"buildinfo": 1}, BUILD),
        ({"whatsmyuri": 1}, {"you": "10.0.0.9:50000"}),
        ({"isdbgrid": 1}, {"isdbgrid": 1, "hostname": "db.example.com:27018"}),
        ({"rolesInfo": 1, "showPrivileges": True}, {"roles": []}),
        ({"connectionStatus": 1}, {"authInfo": AUTH}),
        ({"usersInfo": 1}, {"users": [USER]}),
        ({"usersInfo": "bot"}, {"users": [USER]}),
        ({"usersInfo": {"user": "bot", "db": "shop"}, "showPrivileges": True}, {"users": [USER]}),
        ({"usersInfo": "other"}, {"users": []}),
        ({"usersInfo": {"user": "other", "db": "x"}}, {"users": []}),
        ({"usersInfo": {"db": "x"}}, {"users": []}),
        ({"usersInfo": b"bot"}, {"users": []}),
        ({"getLog": "*"}, {"names": ["startupWarnings"]}),
        ({"getLog": "startupWarnings"}, {"totalLinesWritten": 0, "log": []}),
        (
            {"getParameter": 1, "featureCompatibilityVersion": 1},
            {"featureCompatibilityVersion": {"version": "6.0"}},
        ),
        (
            {"getParameter": 1, "authenticationMechanisms": 1, "other": 1},
            {"authenticationMechanisms": [*MECHANISMS]},
        ),
        (
            {"serverStatus": 1, "repl": 0, "metrics": 0},
            {
                "host": "db.example.com:27018",
                "version": "6.0.5",
                "process": "mongos",
                "pid": 0,
                "uptime": 90.0,
                "uptimeMillis": 90_000,
                "uptimeEstimate": 90,
                "localTime": NOW,
                "connections": {"current": 2, "available": 3},
            },
        ),
        (
            {"hostInfo": 1},
            {
                "system": {
                    "currentTime": NOW,
                    "hostname": "db.example.com:27018",
                    "cpuAddrSize": 64,
                    "numCores": 0,
                    "memSizeMB": 0,
                    "cpuArch": "",
                    "numaEnabled": False,
                },
                "os": {"type": "", "name": "", "version": ""},
                "extra": {},
            },
        ),
        (
            {"startSession": 1},
            {"id": {"id": UUID("00000000-0000-4000-8000-000000000000")}, "timeoutMinutes": 30},
        ),
    ],
)
def test_replies(command: dict[str, Any], reply: dict[str, Any]) -> None:
    assert ask(command) == reply | {"ok": 1.0}


@pytest.mark.parametrize(
    ("role", "names", "actions"),
    [("readWrite", ["readWrite", "dbAdmin"], {"find", "insert"}), ("read", ["read"], {"find"})],
)
def test_the_real_role_is_shown(role: str, names: list[str], actions: set[str]) -> None:
    info = ask({"connectionStatus": 1, "showPrivileges": True}, visit(role))["authInfo"]
    assert [each["role"] for each in info["authenticatedUserRoles"]] == names
    (privilege,) = info["authenticatedUserPrivileges"]
    assert privilege["resource"] == {"db": "shop", "collection": ""}
    assert set(privilege["actions"]) & {"find", "insert"} == actions


def test_as_many_connections_are_left_as_there_are() -> None:
    status = ask({"serverStatus": 1}, visit(clients=9))
    assert status["connections"] == {"current": 9, "available": 0}


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("6.0.5", [6, 0, 5, 0]), ("8.1.0-rc2", [8, 1, 0, 0]), ("7.0.x", [7, 0, 0, 0])],
)
def test_the_version_in_numbers(version: str, numbers: list[int]) -> None:
    who = visit(directory=Directory({}, {}, SECRET, version=version))
    assert ask({"buildInfo": 1}, who)["versionArray"] == numbers


UUID1 = Binary.from_uuid(UUID(int=1))


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"usersInfo": 1, "showCredentials": True}, 13),
        ({"usersInfo": {"forAllDBs": True}}, 13),
        ({"usersInfo": ["bot"]}, 13),
        ({"usersInfo": {"user": ["bot"]}}, 13),
        ({"usersInfo": {"user": {}}}, 13),
        ({"getLog": "global"}, 13),
        ({"getLog": 5}, 13),
        ({"getLog": "startupWarnings", "$db": "shop"}, 13),
        ({"getParameter": "*"}, 13),
        ({"getParameter": 1, "featureCompatibilityVersion": 1, "$db": "shop"}, 13),
        ({"getParameter": "foo"}, 72),
        ({"getParameter": 1, "logLevel": 1}, 72),
        ({"ping": 1, "x": 1}, 40415),
        ({"startSession": 1, "x": 1}, 40415),
        ({"buildInfo": 1, "$audit": {}}, 40415),
        ({"ping": 1, "apiVersion": "2"}, 322),
        ({"hello": 1, "apiVersion": "2"}, 322),
        ({"ping": 1, "apiVersion": 1}, 322),
        ({"ping": 1, "apiVersion": None}, 322),
        ({"ping": 1, "autocommit": False}, 263),
        ({"hello": 1, "autocommit": False}, 263),
        ({"ping": 1, "lsid": {"id": UUID1, "uid": b"x"}}, 72),
        ({"hello": 1, "lsid": {"id": UUID1, "txnNumber": 1}}, 72),
        ({"ping": 1, "maxTimeMS": "soon"}, 2),
    ],
)
def test_refusals(command: dict[str, Any], code: int) -> None:
    with pytest.raises(RefusedError) as caught:
        ask(command)
    assert caught.value.code == code


@pytest.mark.parametrize("name", sorted(LOCAL))
def test_who_may_ask(name: str) -> None:
    """Before the login: only what a login needs."""
    value = {"getLog": "*"}.get(name, 1)
    more = {"authenticationMechanisms": 1} if name == "getParameter" else {}
    assert ask({name: value, **more})["ok"] == 1.0
    before = {"hello", "isMaster", "ismaster", "ping", "buildInfo", "buildinfo"}
    assert LOCAL[name].anonymous == (name in before)


@pytest.mark.parametrize(
    "command", [{"connectionStatus": 1}, {"usersInfo": 1}, {"serverStatus": 1}]
)
def test_nobody_has_no_status(command: dict[str, Any]) -> None:
    with pytest.raises(RefusedError) as caught:
        ask(command, visit(None))
    assert caught.value.code == 13


def test_all_commands_are_listed() -> None:
    listed = ask({"listCommands": 1})["commands"]
    elsewhere = {*SASL, *TENANT_COMMANDS}
    newer = {name for name, row in COMMANDS.items() if row.since > (6, 0)}
    assert newer == {"bulkWrite"}
    assert listed.keys() == {*COMMANDS, *LOCAL, *elsewhere} - newer
    assert elsewhere - COMMANDS.keys() == set(ELSEWHERE)
    assert listed["getLog"] == {"help": "", "adminOnly": True}
    assert listed["find"] == listed["endSessions"] == {"help": "", "adminOnly": False}
    assert listed["listDatabases"]["adminOnly"] is True


def test_rows_are_sorted() -> None:
    assert list(LOCAL) == sorted(LOCAL)


def test_how_guests_are_shown() -> None:
    guest = Caller.of(Guest("CN=a", "shop", "read"), scope(role=Role.READ))
    assert (guest.db, guest.home, guest.mechanisms) == ("$external", "shop", ("external",))
    known = Caller.of(credential(plain=True, x509="CN=a"), scope())
    assert (known.db, known.home) == ("shop", "shop")
    assert known.mechanisms == ("MONGODB-X509", "PLAIN", "SCRAM-SHA-256")


SERVICE = bytes(range(12))


def test_a_replica_set_of_one() -> None:
    found = visit(channel=Channel("h:1", replica_set="rs", here="db.example.com:27018"))
    reply = ask({"hello": 1, "loadBalanced": True}, found)
    assert "msg" not in reply
    assert "serviceId" not in reply
    assert reply == {name: value for name, value in HELLO.items() if name != "msg"} | {
        "isWritablePrimary": True,
        "setName": "rs",
        "setVersion": 1,
        "secondary": False,
        "hosts": ["db.example.com:27018"],
        "primary": "db.example.com:27018",
        "me": "db.example.com:27018",
        "lastWrite": {"lastWriteDate": NOW},
    }
    assert ask({"ismaster": 1}, found)["ismaster"] is True
    assert ask({"serverStatus": 1}, found)["process"] == "mongod"


@pytest.mark.parametrize(
    ("balanced", "says", "told"),
    [(True, True, True), (True, False, False), (True, 1, False), (False, True, False)],
)
def test_behind_a_balancer(balanced: bool, says: object, told: bool) -> None:
    found = visit(channel=Channel("h:1", balanced=balanced), service=SERVICE)
    reply = ask({"hello": 1, "loadBalanced": says}, found)
    assert reply["msg"] == "isdbgrid"
    assert reply.get("serviceId") == (ObjectId(SERVICE) if told else None)
