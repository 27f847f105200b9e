"""The link between processes: who answers, who does not, and who has gone."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import bson
import pytest

from mdb_proxy.decisions import Ask
from mdb_proxy.peers import Handler, Peers, Said, answering, question, rendezvous, socket_of

ASK = Ask("shop", "shop", b"command")


def inside(work: Callable[[Path, asyncio.TaskGroup], Awaitable[None]]) -> None:
    async def main() -> None:
        with rendezvous() as folder:
            async with asyncio.TaskGroup() as group:
                await work(folder, group)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


async def _says(found: Said) -> Said:
    return found


def saying(body: bytes) -> Handler:
    return lambda _asked: _says({"body": body})


def silent(_asked: Said) -> Coroutine[Any, Any, Said] | None:
    return None


def test_the_folder_is_ours_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with rendezvous() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "1.sock").touch()
    assert not folder.exists()
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with rendezvous() as folder:
        assert len(str(socket_of(folder, 64))) < 100
        shutil.rmtree(folder)


def test_who_has_a_part_answers() -> None:
    async def work(folder: Path, group: asyncio.TaskGroup) -> None:
        heard: list[Said] = []

        def third(asked: Said) -> Coroutine[Any, Any, Said]:
            heard.append(asked)
            return _says({"body": b"third"})

        async with (
            answering(socket_of(folder, 2), silent, group),
            answering(socket_of(folder, 3), third, group),
            answering(socket_of(folder, 4), saying(b"fourth"), group),
            answering(socket_of(folder, 5), saying(b""), group),
        ):
            said = await Peers(folder, [2, 3, 4, 5, 6]).ask(ASK)
            assert sorted(said) == [b"fourth", b"third"]
            told = {"app": "shop", "user": "shop", "command": b"command"}
            assert heard == [{"op": "ask", **told, "one": False, "address": ""}]
            assert await Peers(folder, []).ask(ASK) == ()

    inside(work)


def test_the_first_answer_is_enough() -> None:
    async def work(folder: Path, group: asyncio.TaskGroup) -> None:
        stopped = asyncio.Event()

        async def never() -> Said:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()
            return {}

        async with (
            answering(socket_of(folder, 2), lambda _: never(), group),
            answering(socket_of(folder, 3), saying(b"third"), group),
        ):
            ask = Ask("shop", "shop", b"", one=True)
            async with asyncio.timeout(5):
                assert await Peers(folder, [2, 3]).ask(ask) == (b"third",)
                await stopped.wait()

    inside(work)


def test_long_work_is_waited_for_and_stopped_when_nobody_waits() -> None:
    async def work(folder: Path, group: asyncio.TaskGroup) -> None:
        begun, go_on, cut = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slow() -> Said:
            begun.set()
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                cut.set()
                raise
            return {"body": b"late"}

        path = socket_of(folder, 2)
        async with answering(path, lambda _: slow(), group), asyncio.timeout(5):
            asked = group.create_task(question(path, {}, 0.2))
            await begun.wait()
            await asyncio.sleep(0.3)
            assert not asked.done(), "who has a part may take his time"
            go_on.set()
            assert await asked == {"body": b"late"}
            go_on.clear()
            begun.clear()
            asked = group.create_task(question(path, {}))
            await begun.wait()
            asked.cancel()
            await cut.wait()

    inside(work)


def test_who_does_not_say_in_time_has_no_part() -> None:
    async def work(folder: Path, group: asyncio.TaskGroup) -> None:
        path = socket_of(folder, 2)
        came: list[asyncio.StreamWriter] = []
        server = await asyncio.start_unix_server(lambda _, writer: came.append(writer), str(path))
        async with asyncio.timeout(5), server:
            assert await question(path, {}, 0.05) is None
            for writer in came:
                writer.close()
                await writer.wait_closed()

    inside(work)


@pytest.mark.parametrize(
    "sent",
    [b"", b"\x05\0\0", b"\x04\0\0\0", b"\xff\xff\xff\x7f", b"\x05\0\0\0x", b"\x06\0\0\0xx"],
)
def test_what_is_no_document_is_no_answer(sent: bytes) -> None:
    async def work(folder: Path, group: asyncio.TaskGroup) -> None:
        async def broken(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(sent)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            gone.set()

        gone = asyncio.Event()

        path = socket_of(folder, 2)
        async with asyncio.timeout(5), await asyncio.start_unix_server(broken, str(path)):
            assert await question(path, {}) is None
            await gone.wait()

    inside(work)


def test_nonsense_is_not_asked_about() -> None:
    async def work(folder: Path, group: asyncio.TaskGroup) -> None:
        def never(_asked: Said) -> None:
            raise AssertionError

        path = socket_of(folder, 2)
        async with answering(path, never, group):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(b"\x06\0\0\0xx")
            assert await reader.read() == b""
            writer.close()

    inside(work)


def test_a_socket_that_was_left_behind_is_replaced() -> None:
    async def work(folder: Path, group: asyncio.TaskGroup) -> None:
        path = socket_of(folder, 2)
        async with answering(path, silent, group), answering(path, saying(b"new"), group):
            assert await Peers(folder, [2]).ask(ASK) == (b"new",)

    inside(work)


def test_a_whole_batch_fits() -> None:
    async def work(folder: Path, group: asyncio.TaskGroup) -> None:
        large = bson.encode({"x": bytes(16_000_000)})
        async with answering(socket_of(folder, 2), saying(large), group):
            assert await Peers(folder, [2]).ask(ASK) == (large,)

    inside(work)
