"""A client's socket: frames in turn, a bound on what waits, and its end."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mdb_proxy.bounds import Bounds
from mdb_proxy.client import CHUNK, DEAF, ENDLESS, HINT, SPEECHLESS, Client
from mdb_proxy.wire import MAX_BEFORE_LOGIN
from tests.support.talks import Wire, message

PING = message({"ping": 1, "$db": "x"})


class Door:
    """Where clients come and go."""

    def __init__(self) -> None:
        self.began: list[Client] = []
        self.ended: list[Client] = []
        self.client = Client(self.began.append, self.ended.append)
        self.wire = Wire(self.client)
        self.client.connection_made(self.wire)


def inside(work: Callable[[Door], Any]) -> None:
    async def main() -> None:
        await work(Door())

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        (("10.0.0.1", 5), "10.0.0.1:5"),
        (("::1", 5, 0, 0), "::1:5"),
        ("", "local"),
        (None, "local"),
    ],
)
def test_who_comes(name: Any, peer: str) -> None:
    async def work(door: Door) -> None:
        client = Client(door.began.append, door.ended.append)
        wire = Wire(client)
        wire._extra = {"peername": name}  # type: ignore[attr-defined]
        client.connection_made(wire)
        assert client.channel.peer == peer
        assert door.began == [door.client, client]

    inside(work)


@pytest.mark.parametrize("size", [1, 7, len(PING), 1000])
def test_frames_in_turn(size: int) -> None:
    async def work(door: Door) -> None:
        data = b"".join(message({"ping": n, "$db": "x"}, number=n) for n in range(5))
        for start in range(0, len(data), size):
            door.client.data_received(data[start : start + size])
        assert [(await door.client.frame()).request_id for _ in range(5)] == list(range(5))  # type: ignore[union-attr]
        door.client.connection_lost(None)
        assert await door.client.frame() is None
        assert door.ended == [door.client]

    inside(work)


def test_a_frame_that_comes_later() -> None:
    async def work(door: Door) -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(door.client.frame())
            await asyncio.sleep(0)
            door.client.data_received(PING)
        assert task.result() is not None

    inside(work)


def test_what_came_before_the_end_still_counts() -> None:
    async def work(door: Door) -> None:
        door.client.data_received(PING)
        door.client.connection_lost(None)
        assert await door.client.frame() is not None
        assert await door.client.frame() is None

    inside(work)


@pytest.mark.parametrize(
    ("data", "reason", "written"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "the client speaks http", HINT),
        (b"POST /x HTTP/1.1\r\n\r\n", "the client speaks http", HINT),
        (b"\x16\x03\x01\x02\x00", "the client speaks tls", b""),
        (bytes(16), "message length 0 is not within 16 and 65536", b""),
        (b"\xff\xff\xff\x7f" + bytes(12), "is not within 16 and 65536", b""),
    ],
)
def test_what_is_not_the_protocol(data: bytes, reason: str, written: bytes) -> None:
    async def work(door: Door) -> None:
        door.client.data_received(data)
        door.client.data_received(PING)
        assert reason in str(door.client.broken)
        assert bytes(door.wire.written) == written
        assert await door.client.frame() is None

    inside(work)


def test_what_came_before_the_break_still_counts() -> None:
    async def work(door: Door) -> None:
        door.client.data_received(PING)
        door.client.data_received(bytes(16))
        assert await door.client.frame() is not None
        assert await door.client.frame() is None

    inside(work)


def test_only_who_is_trusted_may_send_much() -> None:
    async def work(door: Door) -> None:
        large = message({"x": bytes(MAX_BEFORE_LOGIN)})
        door.client.trust(True)
        door.client.data_received(large)
        assert await door.client.frame() is not None
        door.client.trust(False)
        door.client.data_received(large)
        assert await door.client.frame() is None
        assert door.client.broken is not None

    inside(work)


@pytest.mark.parametrize(
    ("data", "count", "full"),
    [(PING, 16, False), (PING, 17, True), (message({"x": bytes(50_000)}), 21, True)],
)
def test_who_sends_faster_than_we_answer_has_to_wait(data: bytes, count: int, full: bool) -> None:
    async def work(door: Door) -> None:
        for _ in range(count):
            door.client.data_received(data)
        assert door.wire.reading != full
        for _ in range(count):
            await door.client.frame()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(door.client.frame())
            await asyncio.sleep(0)
            assert door.wire.reading
            task.cancel()

    inside(work)


def test_a_closing_transport_is_left_alone() -> None:
    async def work(door: Door) -> None:
        door.wire.pause_reading()
        door.client.close()
        assert await door.client.frame() is None
        assert not door.wire.reading

    inside(work)


def test_answers_wait_for_a_slow_reader() -> None:
    async def work(door: Door) -> None:
        door.client.pause_writing()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(door.client.send(b"abc"))
            await asyncio.sleep(0)
            assert bytes(door.wire.written) == b"abc"
            assert not task.done()
            door.client.resume_writing()
        await door.client.send(b"")
        assert door.client.broken is None

    inside(work)


def test_who_never_reads_is_left() -> None:
    async def work(door: Door) -> None:
        door.client.bounds = Bounds(send_seconds=0.01)
        door.client.pause_writing()
        await door.client.send(b"abc")
        assert door.wire.aborted
        assert "does not read" in str(door.client.broken)
        assert await door.client.frame() is None

    inside(work)


def test_nothing_is_written_to_who_has_left() -> None:
    async def work(door: Door) -> None:
        door.client.pause_writing()
        door.client.connection_lost(None)
        await door.client.send(b"abc")
        assert bytes(door.wire.written) == b""

    inside(work)


def test_a_long_answer_goes_in_pieces() -> None:
    async def work(door: Door) -> None:
        data = bytes(range(256)) * (CHUNK // 100)
        async with asyncio.TaskGroup() as group:
            door.client.pause_writing()
            task = group.create_task(door.client.send(data))
            await asyncio.sleep(0)
            assert len(door.wire.written) == CHUNK
            assert not task.done()
            door.client.resume_writing()
        assert bytes(door.wire.written) == data

    inside(work)


def test_a_long_answer_to_who_does_not_go_on_reading() -> None:
    async def work(door: Door) -> None:
        door.client.bounds = Bounds(send_seconds=0.01)
        door.client.pause_writing()
        await door.client.send(bytes(10 * CHUNK))
        assert (len(door.wire.written), door.wire.aborted) == (CHUNK, True)
        assert (str(door.client.broken), door.client.dropped) == (DEAF, True)

    inside(work)


def test_who_says_nothing_is_late() -> None:
    async def work(door: Door) -> None:
        assert door.client.late(1e9) == "", "nobody has said when it came"
        door.client.came = 100.0
        assert [door.client.late(now) for now in (105.0, 105.1)] == ["", SPEECHLESS]
        door.client.data_received(PING[:1])
        assert door.client.late(105.1) == ""

    inside(work)


def test_whose_message_does_not_end_is_late() -> None:
    async def work(door: Door) -> None:
        door.client.came = 0.0
        door.client.data_received(PING + PING[:5])
        assert [door.client.late(now) for now in (100.0, 130.0, 130.1)] == ["", "", ENDLESS]
        door.client.data_received(PING[5:] + PING[:5])
        assert [door.client.late(now) for now in (131.0, 161.0, 161.1)] == ["", "", ENDLESS]
        door.client.data_received(PING[5:])
        assert door.client.late(1000.0) == ""
        door.client.data_received(PING[:5])
        assert door.client.late(1001.0) == ""
        door.wire.pause_reading()
        assert door.client.late(2000.0) == "", "it is we who do not read"

    inside(work)


def test_who_is_dropped_is_gone_at_once() -> None:
    async def work(door: Door) -> None:
        task = asyncio.ensure_future(door.client.frame())
        await asyncio.sleep(0)
        door.client.drop(ENDLESS)
        assert await task is None
        assert (door.wire.aborted, str(door.client.broken)) == (True, ENDLESS)

    inside(work)
