"""The link between the processes of one proxy: questions and answers over Unix sockets.

BSON documents, one behind the other: each begins with its own length. One question per connection;
who gives up waiting closes it, and what was begun for him is stopped. The sockets lie in a folder
that only we can enter: that is all the authentication there is.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import bson
from bson.errors import BSONError

from mdb_proxy.decisions import Ask

ASK_SECONDS: Final = 2.0
"""How long a process may take to say whether it has a part in what it is asked."""

MAX_DOCUMENT: Final = 64_000_000
MAX_FOLDER: Final = 80
"""Bytes; the path of a Unix socket has at most 107 (Linux)."""

Said = Mapping[str, Any]
Handler = Callable[[Said], Coroutine[Any, Any, Said] | None]
"""Gives what answers a question; None at once: nothing does."""

_NOT_MINE: Final = bson.encode({"mine": False})
_MINE: Final = bson.encode({"mine": True})


@contextmanager
def rendezvous() -> Iterator[Path]:
    """A folder for sockets that nobody else can enter; gone at the end of the block."""
    usual = tempfile.gettempdir()
    parent = usual if len(usual.encode()) <= MAX_FOLDER else "/tmp"  # noqa: S108 - 0700 inside
    with tempfile.TemporaryDirectory(
        prefix="mdb-", dir=parent, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def socket_of(folder: Path, worker: int) -> Path:
    """Where a worker is asked."""
    return folder / f"{worker}.sock"


async def _hear(reader: asyncio.StreamReader) -> dict[str, Any]:
    head = await reader.readexactly(4)
    size = int.from_bytes(head, "little")
    if not len(head) < size <= MAX_DOCUMENT:
        msg = "not a document of ours"
        raise EOFError(msg)
    try:
        return bson.decode(head + await reader.readexactly(size - len(head)))
    except BSONError as error:
        raise EOFError(str(error)) from error


async def question(path: Path, asked: Said, seconds: float = ASK_SECONDS) -> Said | None:
    """Ask one process; None when it has no part in this, is gone, or does not say in time.

    Once it has said that it has a part, its answer may take as long as it takes.
    """
    try:
        async with asyncio.timeout(seconds) as bound:
            reader, writer = await asyncio.open_unix_connection(str(path))
            try:
                writer.write(bson.encode(asked))
                if not (await _hear(reader)).get("mine"):
                    return None
                bound.reschedule(None)
                return await _hear(reader)
            finally:
                writer.transport.abort()
    except (OSError, EOFError, TimeoutError):
        return None


class Peers:
    """The other workers."""

    def __init__(self, folder: Path, others: Sequence[int]) -> None:
        self._paths = [socket_of(folder, number) for number in others]

    async def everybody(self, asked: Said) -> list[Said | None]:
        """What each says; None of one that does not."""
        return list(await asyncio.gather(*(question(path, asked) for path in self._paths)))

    async def ask(self, ask: Ask) -> tuple[bytes, ...]:
        """The replies of those that have a part; of the first, when one is enough."""
        asked = {"op": "ask", **asdict(ask)}
        said: list[bytes] = []
        async with asyncio.TaskGroup() as group:
            waiting = {group.create_task(question(path, asked)) for path in self._paths}
            while waiting and not (ask.one and said):
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                found = [each for task in done if (each := task.result()) is not None]
                said += [each["body"] for each in found if each.get("body")]
            for task in waiting:
                task.cancel()
        return tuple(said)


@asynccontextmanager
async def answering(path: Path, handler: Handler, group: asyncio.TaskGroup) -> AsyncIterator[None]:
    """Answer questions while the block runs."""

    def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = group.create_task(_visit(reader, writer, handler))
        visits.add(task)
        task.add_done_callback(visits.discard)

    visits: set[asyncio.Task[None]] = set()
    # A socket that a worker before us left there is replaced.
    server = await asyncio.start_unix_server(came, str(path))
    try:
        yield
    finally:
        server.close()
        for task in visits:
            task.cancel()


async def _visit(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler
) -> None:
    """One question, its answer, and the end; the end comes early when the visitor leaves."""
    try:
        work = handler(await _hear(reader))
        if work is None:
            writer.write(_NOT_MINE)
        else:
            writer.write(_MINE)
            answer = await _while_there(reader, work)
            if answer is not None:
                writer.write(bson.encode(answer))
        await writer.drain()
    except (OSError, EOFError):
        return
    finally:
        writer.close()


async def _while_there(
    reader: asyncio.StreamReader, work: Coroutine[Any, Any, Said]
) -> Said | None:
    """The result of the work; None, and no more work, when the visitor leaves first."""
    async with asyncio.TaskGroup() as group:
        job, left = group.create_task(work), group.create_task(_left(reader))
        await asyncio.wait((job, left), return_when=asyncio.FIRST_COMPLETED)
        found = job.result() if job.done() else None
        job.cancel()
        left.cancel()
    return found


async def _left(reader: asyncio.StreamReader) -> None:
    """Ends when the visitor leaves; it says nothing more."""
    with suppress(OSError):
        await reader.read(1)
