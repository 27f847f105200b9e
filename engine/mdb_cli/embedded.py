"""Runs a real mongod as a replica set of one, with a folder of its own that survives restarts.

In the folder: `data/`, `mongod.log`, `embedded.json` (the port), `lock`. The server listens on
127.0.0.1 only and asks for no password: whoever can run programs here can read the folder anyway.
"""

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mdb_cli.mongod import EmbeddedError, find_mongod, version_of

if TYPE_CHECKING:
    from pymongo import MongoClient

HOST: Final = "127.0.0.1"
REPLICA_SET: Final = "rs0"
NOT_YET_INITIALIZED: Final = 94  # MongoDB's code
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 30.0
LOCK_SECONDS: Final = 15.0
PAUSE: Final = 0.02
OPTIONS: Final = (
    "--nounixsocket",
    "--wiredTigerCacheSizeGB=0.25",
    "--oplogSize=256",
    "--setParameter=diagnosticDataCollectionEnabled=false",
)


@dataclass(frozen=True, slots=True)
class Embedded:
    """A running server: where it is, which version, which process."""

    uri: str
    port: int
    version: str
    pid: int


@contextmanager
def embedded_server(folder: Path, options: Sequence[str] = ()) -> Iterator[Embedded]:
    """Start the server of this folder, give it as a writable primary, and stop it afterwards.

    Call it from the main thread: the server is asked to end when the thread that started it ends.

    Args:
        folder: made when it does not exist.
        options: more arguments for mongod.

    Raises:
        EmbeddedError: no mongod, a missing library, or the folder is in use.
    """
    program = find_mongod()
    version = version_of(program)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    with _locked(folder) as lock:
        port = choose_port(folder)
        process = _start(program, folder, port, options, lock)
        try:
            _become_primary(process, folder, port)
            _remember_port(folder, port)
            uri = f"mongodb://{HOST}:{port}/?replicaSet={REPLICA_SET}"
            yield Embedded(uri, port, version, process.pid)
        finally:
            _stop(process)


def choose_port(folder: Path) -> int:
    """Give the port of the last time when it is free, else a free one."""
    for port in (_remembered_port(folder), 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise EmbeddedError(f"There is no free port on {HOST}.")


def _remembered_port(folder: Path) -> int:
    """Give the port that the replica set's configuration names; 0 when nothing is known."""
    try:
        port = json.loads((folder / "embedded.json").read_text(encoding="utf-8"))["port"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return port if isinstance(port, int) and 0 < port < 65_536 else 0  # noqa: PLR2004


def _remember_port(folder: Path, port: int) -> None:
    (folder / "embedded.json").write_text(json.dumps({"port": port}) + "\n", encoding="utf-8")


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Hold the folder; gives the descriptor, which the server holds too until it has ended."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _take(descriptor, folder)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path) -> None:
    """Take the lock; waits only for a server whose owner has died and that is about to end."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 20, 0).decode()
            if _alive(owner) or time.monotonic() > deadline:
                raise EmbeddedError(
                    f"{folder} is in use by another `mdb dev` (process {owner or 'unknown'}); "
                    "stop it or choose another folder with --data."
                ) from None
            time.sleep(PAUSE)
        else:
            return


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _start(
    program: Path, folder: Path, port: int, options: Sequence[str], lock: int
) -> subprocess.Popen[bytes]:
    """Start mongod on a leash, away from the terminal's Ctrl-C: we stop it when we are done."""
    log = folder / "mongod.log"
    if log.exists():
        log.replace(folder / "mongod.log.old")
    leash = Path(__file__).with_name("leash.py")
    where = [f"--dbpath={folder / 'data'}", f"--logpath={log}", f"--port={port}"]
    return subprocess.Popen(  # noqa: S603 - the program that find_mongod() gave
        [
            *(sys.executable, "-I", "-S", leash, str(os.getpid())),
            *(program, f"--replSet={REPLICA_SET}", f"--bind_ip={HOST}"),
            *(*where, *OPTIONS, *options),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(lock,),
        start_new_session=True,
    )


def _become_primary(process: subprocess.Popen[bytes], folder: Path, port: int) -> None:
    """Wait for the server, see to its replica set, wait until it takes writes."""
    from pymongo import MongoClient  # noqa: PLC0415 - slow to load, and not needed to fail
    from pymongo.errors import ConnectionFailure  # noqa: PLC0415

    client: MongoClient[dict[str, Any]]
    with MongoClient(HOST, port, directConnection=True, serverSelectionTimeoutMS=500) as client:
        arranged = False
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            try:
                arranged = arranged or _arrange(client, f"{HOST}:{port}")
                if client.admin.command("hello").get("isWritablePrimary"):
                    return
            except ConnectionFailure:
                continue
            time.sleep(PAUSE)
    ended = process.poll()
    how = "did not become ready" if ended is None else f"ended at once (code {ended})"
    raise EmbeddedError(f"The embedded MongoDB {how}; its log is {folder / 'mongod.log'}.")


def _arrange(client: "MongoClient[dict[str, Any]]", address: str) -> bool:
    """Make the replica set, or give its one member the address that it has now."""
    from pymongo.errors import OperationFailure  # noqa: PLC0415

    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code != NOT_YET_INITIALIZED:
            raise
        members = [{"_id": 0, "host": address}]
        client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": members})
        return True
    if config["members"][0]["host"] != address:
        config["members"][0]["host"] = address
        config["version"] += 1
        client.admin.command("replSetReconfig", config, force=True)
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to end, and make it end when it does not."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
