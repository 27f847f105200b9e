"""LOCAL: commands that we answer ourselves; nothing of them reaches the cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bson.int64 import Int64
from bson.objectid import ObjectId

from mdb_engine.exceptions import (
    APIVersionError,
    InvalidOptionsError,
    QueryValidationError,
    UnauthorizedError,
)
from mdb_engine.rawbson import Array, Document
from mdb_engine.scope.commands import COMMANDS
from mdb_engine.scope.model import Role, Scope
from mdb_engine.scope.names import not_authorized
from mdb_proxy.auth import ADVERTISED, MECHANISMS, Guest, Holder
from mdb_proxy.channel import Channel
from mdb_proxy.directory import Directory
from mdb_proxy.envelope import check_fields
from mdb_proxy.lsids import random_uuid

MAX_BSON: Final = 16_777_216
MAX_FILL: Final = 45_000_000
"""Drivers fill messages up to what is advertised; the tag must still fit below 48,000,000."""

MAX_BATCH: Final = 10_000
MAX_CLIENT_METADATA: Final = 512
SESSION_MINUTES: Final = 30


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is logged in, and what that opens now.

    Attributes:
        mechanisms: by which it may log in. source: where its name is known; "" for at home.
    """

    name: str
    scope: Scope
    mechanisms: tuple[str, ...] = ADVERTISED
    source: str = ""

    @classmethod
    def of(cls, holder: Holder, scope: Scope) -> Caller:
        """Who is logged in; guests are known elsewhere, as MongoDB says it of them."""
        if isinstance(holder, Guest):
            return cls(holder.name, scope, ("external",), "$external")
        return cls(holder.name, scope, holder.mechanisms)

    @property
    def home(self) -> str:
        """The database that the app calls its own."""
        return self.scope.home[0]

    @property
    def db(self) -> str:
        """The database of its name."""
        return self.source or self.home


@dataclass(frozen=True, slots=True)
class Visit:
    """What a local command may know of the conversation.

    Attributes:
        directory: the current one. caller: who is logged in, or None.
        channel: how the client came. connection: its number.
        now: wall clock. started: when the process began. clients: connections of the app.
        random: so many random bytes. compressors: what the listener offers.
        service: which process this is, 12 bytes.
    """

    directory: Directory
    caller: Caller | None
    channel: Channel
    connection: int
    now: datetime
    started: datetime
    random: Callable[[int], bytes]
    compressors: tuple[str, ...]
    clients: int = 1
    service: bytes = bytes(12)

    @property
    def known(self) -> Caller:
        """Who is logged in.

        Raises:
            UnauthorizedError: nobody is.
        """
        if self.caller is None:
            msg = "this command requires authentication"
            raise UnauthorizedError(msg)
        return self.caller


Answer = Callable[[Mapping[str, Any], Visit], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class LocalRow:
    """One command that we answer.

    Attributes:
        answer: makes the reply, without `ok`. fields: that it knows, besides the generic ones;
        None: any, they name things or are ignored.
        anonymous: allowed before login. admin: only on the admin database.
    """

    answer: Answer
    fields: frozenset[str] | None = frozenset()
    anonymous: bool = False
    admin: bool = False


def _nothing(_command: Mapping[str, Any], _visit: Visit) -> dict[str, Any]:
    return {}


def _hello(command: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    """What drivers ask first.

    Without a `topologyVersion` drivers do not open a second connection that waits for news.
    """
    _check_metadata(command.get("client"))
    primary = "isWritablePrimary" if next(iter(command)) == "hello" else "ismaster"
    reply: dict[str, Any] = {
        **({"helloOk": True} if command.get("helloOk") is True else {}),
        primary: True,
        **_presented(command, visit),
        "maxBsonObjectSize": MAX_BSON,
        "maxMessageSizeBytes": MAX_FILL,
        "maxWriteBatchSize": MAX_BATCH,
        "localTime": visit.now,
        "logicalSessionTimeoutMinutes": SESSION_MINUTES,
        "connectionId": visit.connection,
        "minWireVersion": 0,
        "maxWireVersion": visit.directory.max_wire_version,
        "readOnly": False,
    }
    offered = command.get("compression")
    if isinstance(offered, Array):
        names = dict.fromkeys(name for name in offered if isinstance(name, str))
        reply["compression"] = [name for name in names if name in visit.compressors]
    if "saslSupportedMechs" in command:
        # The same for every name, so that names cannot be found out.
        reply["saslSupportedMechs"] = list(ADVERTISED)
    return reply


def _presented(command: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    """What we are taken for. A mongos names no hosts, so any port mapping works.

    A replica set of one is for URIs that name a set: its only member is where the client came to.
    Behind a balancer who asks for it is told which process it reached; such a client keeps its
    cursors and transactions on their connection.
    """
    channel = visit.channel
    if channel.replica_set:
        member = dict.fromkeys(("primary", "me"), channel.here)
        written = {"lastWriteDate": visit.now}
        return {
            "setName": channel.replica_set,
            "setVersion": 1,
            "secondary": False,
            "hosts": [channel.here],
            **member,
            "lastWrite": written,
        }
    asks = channel.balanced and command.get("loadBalanced") is True
    return {"msg": "isdbgrid", **({"serviceId": ObjectId(visit.service)} if asks else {})}


def _check_metadata(client: Any) -> None:
    if client is None:
        return
    if not isinstance(client, Document):
        msg = "The client metadata document must be an object"
        raise QueryValidationError(msg, "client")
    if len(client.data) > MAX_CLIENT_METADATA:
        msg = f"The client metadata document must be at most {MAX_CLIENT_METADATA} bytes"
        raise QueryValidationError(msg, "client")


def _build_info(_command: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    version = visit.directory.version
    numbers = [int(part) if part.isdigit() else 0 for part in version.split("-")[0].split(".")]
    return {
        "version": version,
        "gitVersion": "",
        "modules": [],
        "javascriptEngine": "none",
        "versionArray": [*numbers, 0, 0, 0, 0][:4],
        "bits": 64,
        "debug": False,
        "maxBsonObjectSize": MAX_BSON,
    }


def roles(caller: Caller) -> list[dict[str, str]]:
    """The roles that a user of a private cluster would have."""
    names = ("readWrite", "dbAdmin") if caller.scope.role is Role.READ_WRITE else ("read",)
    return [{"role": name, "db": caller.home} for name in names]


_READ: Final = ("find", "listCollections", "listIndexes", "collStats", "dbStats")
_WRITE: Final = ("insert", "update", "remove", "createCollection", "dropCollection", "createIndex")


def _connection_status(command: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    caller = visit.known
    info: dict[str, Any] = {
        "authenticatedUsers": [{"user": caller.name, "db": caller.db}],
        "authenticatedUserRoles": roles(caller),
    }
    if command.get("showPrivileges") is True:
        actions = [*_READ, *(_WRITE if caller.scope.role is Role.READ_WRITE else ())]
        resource = {"db": caller.home, "collection": ""}
        info["authenticatedUserPrivileges"] = [{"resource": resource, "actions": actions}]
    return {"authInfo": info}


def _users_info(command: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    name, db = visit.known.name, visit.known.db
    wanted = command["usersInfo"]
    if isinstance(wanted, Document) and "forAllDBs" not in wanted:
        wanted = wanted.get("user")
    if command.get("showCredentials") or isinstance(wanted, Array | Document):
        raise _denied(command)
    if wanted not in (1, name):
        return {"users": []}
    user = {"_id": f"{db}.{name}", "user": name, "db": db, "roles": roles(visit.known)}
    return {"users": [{**user, "mechanisms": list(visit.known.mechanisms)}]}


def _denied(command: Mapping[str, Any]) -> UnauthorizedError:
    name = next(iter(command))
    return UnauthorizedError(not_authorized(command["$db"], f"{name}: ..."))


def _roles_info(_command: Mapping[str, Any], _visit: Visit) -> dict[str, Any]:
    return {"roles": []}


def _host_info(_command: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    system = {
        "currentTime": visit.now,
        "hostname": visit.directory.address,
        "cpuAddrSize": 64,
        "numCores": 0,
        "memSizeMB": 0,
        "cpuArch": "",
        "numaEnabled": False,
    }
    return {"system": system, "os": {"type": "", "name": "", "version": ""}, "extra": {}}


def _server_status(_command: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    up = (visit.now - visit.started).total_seconds()
    most = visit.known.scope.limits.max_connections
    return {
        "host": visit.directory.address,
        "version": visit.directory.version,
        "process": "mongod" if visit.channel.replica_set else "mongos",
        "pid": Int64(0),
        "uptime": up,
        "uptimeMillis": Int64(int(up * 1000)),
        "uptimeEstimate": Int64(int(up)),
        "localTime": visit.now,
        "connections": {"current": visit.clients, "available": max(0, most - visit.clients)},
    }


def _start_session(_command: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    return {"id": {"id": random_uuid(visit.random(16))}, "timeoutMinutes": SESSION_MINUTES}


def _get_log(command: Mapping[str, Any], _visit: Visit) -> dict[str, Any]:
    if command["getLog"] == "*":
        return {"names": ["startupWarnings"]}
    if command["getLog"] != "startupWarnings":
        raise _denied(command)
    return {"totalLinesWritten": 0, "log": []}


_PARAMETERS: Final[Mapping[str, Callable[[Visit], Any]]] = {
    "authenticationMechanisms": lambda _: list(MECHANISMS),
    "featureCompatibilityVersion": lambda visit: {
        "version": ".".join(map(str, visit.directory.features.version))
    },
}


def _get_parameter(command: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    if command["getParameter"] == "*":
        raise _denied(command)
    asked = [name for name in command if name in _PARAMETERS]
    if not asked:
        msg = "no option found to get"
        raise InvalidOptionsError(msg)
    return {name: _PARAMETERS[name](visit) for name in asked}


def _whats_my_uri(_command: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    return {"you": visit.channel.peer}


def _is_db_grid(_command: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    return {"isdbgrid": 1, "hostname": visit.directory.address}


ELSEWHERE: Final = (
    "authenticate", "endSessions", "killSessions", "logout", "refreshSessions", "saslContinue",
    "saslStart",
)  # fmt: skip
"""Commands that neither the kernel's table nor this one holds."""


def _list_commands(_command: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    version = visit.directory.features.version
    there = {name for name, row in COMMANDS.items() if row.since <= version}
    names = sorted({*there, *LOCAL, *ELSEWHERE})
    return {"commands": {name: {"help": "", "adminOnly": _admin_only(name)} for name in names}}


def _admin_only(name: str) -> bool:
    row = COMMANDS.get(name) or LOCAL.get(name)
    return row is not None and row.admin


_SHOWN: Final = frozenset({
    "filter", "showAuthenticationRestrictions", "showBuiltinRoles", "showCredentials",
    "showCustomData", "showPrivileges",
})  # fmt: skip

LOCAL: Final[Mapping[str, LocalRow]] = {
    "availableQueryOptions": LocalRow(lambda *_: {"options": {}}),
    "buildInfo": LocalRow(_build_info, anonymous=True),
    "buildinfo": LocalRow(_build_info, anonymous=True),
    "connectionStatus": LocalRow(_connection_status, frozenset({"showPrivileges"})),
    "driverOIDTest": LocalRow(_nothing),
    "features": LocalRow(lambda *_: {"oidMachine": 0}, frozenset({"oidReset"})),
    "getLog": LocalRow(_get_log, admin=True),
    "getParameter": LocalRow(_get_parameter, None, admin=True),
    "hello": LocalRow(_hello, None, anonymous=True),
    "hostInfo": LocalRow(_host_info),
    "isMaster": LocalRow(_hello, None, anonymous=True),
    "isdbgrid": LocalRow(_is_db_grid),
    "ismaster": LocalRow(_hello, None, anonymous=True),
    "listCommands": LocalRow(_list_commands),
    "ping": LocalRow(_nothing, anonymous=True),
    "rolesInfo": LocalRow(_roles_info, _SHOWN),
    "serverStatus": LocalRow(_server_status, None),
    "startSession": LocalRow(_start_session),
    "usersInfo": LocalRow(_users_info, _SHOWN),
    "whatsmyuri": LocalRow(_whats_my_uri),
}


def answer(command: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    """The reply of a local command, by its name in LOCAL.

    Raises:
        APIVersionError: an API version that is not "1". UnauthorizedError: wrong database.
        NotSupportedInTransactionError: in a transaction. UnknownFieldError: a field too many.
        Others: what the command itself refuses.
    """
    name = next(iter(command))
    row = LOCAL[name]
    if row.admin and command["$db"] != "admin":
        msg = f"{name} may only be run against the admin database."
        raise UnauthorizedError(msg)
    check_fields(command, row.fields)
    if command.get("apiVersion", "1") != "1":
        msg = 'API version must be "1"'
        raise APIVersionError(msg, "apiVersion")
    return {**row.answer(command, visit), "ok": 1.0}
