"""LOCAL: commands that we answer ourselves; nothing of them reaches the cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from bson.int64 import Int64

from mdb_engine.credentials import Credential
from mdb_engine.exceptions import (
    APIVersionError,
    InvalidOptionsError,
    QueryValidationError,
    UnauthorizedError,
)
from mdb_engine.rawbson import Array, Document
from mdb_engine.scope.commands import COMMANDS
from mdb_engine.scope.names import not_authorized
from mdb_proxy.auth import MECHANISMS
from mdb_proxy.directory import Directory
from mdb_proxy.wire.compression import COMPRESSORS

MAX_BSON: Final = 16_777_216
MAX_FILL: Final = 45_000_000
"""Drivers fill messages up to what is advertised; the tag must still fit below 48,000,000."""

MAX_BATCH: Final = 10_000
MAX_CLIENT_METADATA: Final = 512
SESSION_MINUTES: Final = 30


@dataclass(frozen=True, slots=True)
class Visit:
    """What a local command may know of the conversation.

    Attributes:
        directory: the current one. credential: who is logged in, or None.
        peer: the client's own address. connection: number of the connection.
        now: wall clock. started: when the process began. clients: connections of the app.
        compressors: what the listener offers.
    """

    directory: Directory
    credential: Credential | None
    peer: str
    connection: int
    now: datetime
    started: datetime
    clients: int = 1
    compressors: tuple[str, ...] = field(default=tuple(COMPRESSORS))


Answer = Callable[[Mapping[str, Any], Visit], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class LocalRow:
    """One command that we answer.

    Attributes:
        answer: makes the reply, without `ok`. anonymous: allowed before login.
        admin: only on the admin database.
    """

    answer: Answer
    anonymous: bool = False
    admin: bool = False


def _nothing(_command: Mapping[str, Any], _visit: Visit) -> dict[str, Any]:
    return {}


def _hello(command: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    """We present ourselves as a mongos: it names no hosts, so any port mapping works."""
    _check_metadata(command.get("client"))
    primary = "isWritablePrimary" if next(iter(command)) == "hello" else "ismaster"
    reply: dict[str, Any] = {
        **({"helloOk": True} if command.get("helloOk") is True else {}),
        primary: True,
        "msg": "isdbgrid",
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
        reply["compression"] = [name for name in offered if name in visit.compressors]
    if "saslSupportedMechs" in command:
        reply["saslSupportedMechs"] = list(MECHANISMS)
    return reply


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
    numbers = [int(part) for part in version.split("-")[0].split(".")[:3]]
    return {
        "version": version,
        "gitVersion": "",
        "modules": [],
        "javascriptEngine": "none",
        "versionArray": [*numbers, 0],
        "bits": 64,
        "debug": False,
        "maxBsonObjectSize": MAX_BSON,
    }


def roles(credential: Credential, db: str) -> list[dict[str, str]]:
    """The roles that a user of a private cluster would have."""
    names = ("readWrite", "dbAdmin") if credential.role == "readWrite" else ("read",)
    return [{"role": name, "db": db} for name in names]


def _home(visit: Visit, credential: Credential) -> str:
    scope = visit.directory.scope(credential)
    return scope.home[0] if scope else credential.app


_READ: Final = ("find", "listCollections", "listIndexes", "collStats", "dbStats")
_WRITE: Final = ("insert", "update", "remove", "createCollection", "dropCollection", "createIndex")


def _connection_status(command: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    credential = visit.credential
    info: dict[str, Any] = {"authenticatedUsers": [], "authenticatedUserRoles": []}
    if credential is not None:
        db = _home(visit, credential)
        info["authenticatedUsers"] = [{"user": credential.name, "db": db}]
        info["authenticatedUserRoles"] = roles(credential, db)
        if command.get("showPrivileges") is True:
            actions = [*_READ, *(_WRITE if credential.role == "readWrite" else ())]
            resource = {"db": db, "collection": ""}
            info["authenticatedUserPrivileges"] = [{"resource": resource, "actions": actions}]
    return {"authInfo": info}


def _users_info(command: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    credential = visit.credential
    wanted = command["usersInfo"]
    if credential is None or command.get("showCredentials") or isinstance(wanted, Array):
        raise _denied(command)
    if isinstance(wanted, Document):
        if "forAllDBs" in wanted:
            raise _denied(command)
        wanted = wanted.get("user")
    if wanted not in (1, credential.name):
        return {"users": []}
    db = _home(visit, credential)
    user = {"_id": f"{db}.{credential.name}", "user": credential.name, "db": db}
    return {"users": [{**user, "roles": roles(credential, db), "mechanisms": list(MECHANISMS)}]}


def _denied(command: Mapping[str, Any]) -> UnauthorizedError:
    name = next(iter(command))
    return UnauthorizedError(not_authorized(str(command.get("$db")), f"{name}: ..."))


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
    return {
        "host": visit.directory.address,
        "version": visit.directory.version,
        "process": "mongos",
        "pid": Int64(0),
        "uptime": up,
        "uptimeMillis": Int64(int(up * 1000)),
        "uptimeEstimate": Int64(int(up)),
        "localTime": visit.now,
        "connections": {"current": visit.clients, "available": _available(visit)},
    }


def _available(visit: Visit) -> int:
    scope = visit.credential and visit.directory.scope(visit.credential)
    return max(0, scope.limits.max_connections - visit.clients) if scope else 0


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
    return {"you": visit.peer}


def _is_db_grid(_command: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    return {"isdbgrid": 1, "hostname": visit.directory.address}


def _list_commands(_command: Mapping[str, Any], _visit: Visit) -> dict[str, Any]:
    names = sorted({*COMMANDS, *LOCAL})
    return {"commands": {name: {"help": "", "adminOnly": _admin_only(name)} for name in names}}


def _admin_only(name: str) -> bool:
    row = COMMANDS.get(name) or LOCAL.get(name)
    return bool(row and row.admin)


LOCAL: Final[Mapping[str, LocalRow]] = {
    "availableQueryOptions": LocalRow(lambda *_: {"options": {}}),
    "buildInfo": LocalRow(_build_info, anonymous=True),
    "buildinfo": LocalRow(_build_info, anonymous=True),
    "connectionStatus": LocalRow(_connection_status, anonymous=True),
    "driverOIDTest": LocalRow(_nothing),
    "features": LocalRow(lambda *_: {"oidMachine": 0}),
    "getLog": LocalRow(_get_log, admin=True),
    "getParameter": LocalRow(_get_parameter, admin=True),
    "hello": LocalRow(_hello, anonymous=True),
    "hostInfo": LocalRow(_host_info),
    "isMaster": LocalRow(_hello, anonymous=True),
    "isdbgrid": LocalRow(_is_db_grid, anonymous=True),
    "ismaster": LocalRow(_hello, anonymous=True),
    "listCommands": LocalRow(_list_commands),
    "ping": LocalRow(_nothing, anonymous=True),
    "rolesInfo": LocalRow(_roles_info),
    "serverStatus": LocalRow(_server_status),
    "usersInfo": LocalRow(_users_info),
    "whatsmyuri": LocalRow(_whats_my_uri, anonymous=True),
}


def answer(name: str, command: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    """The reply of a local command.

    Raises:
        APIVersionError: an API version that is not "1". UnauthorizedError: wrong database.
        Others: what the command itself refuses.
    """
    row = LOCAL[name]
    if command.get("apiVersion", "1") != "1":
        msg = 'API version must be "1"'
        raise APIVersionError(msg, "apiVersion")
    if row.admin and command.get("$db") != "admin":
        msg = f"{name} may only be run against the admin database."
        raise UnauthorizedError(msg)
    return {**row.answer(command, visit), "ok": 1.0}
