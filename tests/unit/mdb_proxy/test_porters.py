"""Real sockets in front of a listener: who is let in, who is not, and that nothing is left open."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop

from mdb_engine.exceptions import ConfigurationError
from mdb_proxy import porters
from mdb_proxy.bounds import Bounds
from mdb_proxy.channel import Channel
from mdb_proxy.listeners import Keys, Listening
from mdb_proxy.porters import Plan, Porters
from mdb_proxy.wire import Frames
from mdb_proxy.wire.preamble import SIGNATURE
from tests.support.certificates import Authority
from tests.support.handshakes import trusting
from tests.support.talks import House, heard, house, message

HERE = "127.0.0.1"
SECONDS = 5
HELLO = message({"hello": 1, "$db": "admin"})
FAMILIES = {socket.AF_INET: 0x11, socket.AF_INET6: 0x21}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("certificates")
    authority = Authority(made).made()
    authority.issue("/O=tests/CN=server", "DNS:localhost")
    authority.issue("/O=tests/CN=client")
    return made


def keys(folder: Path) -> Keys:
    ca = folder / "tests-ca.pem"
    return Keys(certificate=folder / "server.pem", client_ca=ca, client_certificates="optional")


def connections() -> set[str]:
    """Give what this process has open that is a socket."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(str(path.readlink()))
    return {each for each in found if each.startswith("socket:")}


@pytest.fixture(params=[None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def inside(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Runs work in an event loop, with a house that has these listeners."""

    def run(
        work: Callable[["Open"], Awaitable[None]], *listeners: Listening, **bounds: Any
    ) -> None:
        async def main() -> None:
            files = connections()
            async with asyncio.timeout(4 * SECONDS), house() as found:
                made = Porters(Plan(listeners, Bounds(**bounds)))
                with made.open(found.listener) as bound:
                    await work(Open(found, made, bound))
                assert [porter.admission.inside for porter in made.porters] == [
                    len(found.listener.clients) for _ in made.porters
                ]
                await found.listener.drain(SECONDS)
                await asyncio.sleep(0.05)
            assert connections() == files

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main())

    return run


class Open:
    """Listeners that are open, and who comes there."""

    def __init__(self, house: House, porters: Porters, bound: Sequence[Listening]) -> None:
        self.house, self.porters, self.bound = house, porters, bound

    @property
    def channels(self) -> list[Channel]:
        return [client.channel for client in self.house.listener.clients]

    @asynccontextmanager
    async def visit(
        self, first: bytes = b"", number: int = 0, **options: Any
    ) -> AsyncIterator["Visitor"]:
        place = self.bound[number]
        if place.path:
            reader, writer = await asyncio.open_unix_connection(place.path)
        else:
            reader, writer = await asyncio.open_connection(place.host, place.port, **options)
        try:
            writer.write(first)
            yield Visitor(reader, writer)
        finally:
            writer.transport.abort()
            await asyncio.sleep(0.02)


class Visitor:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def hello(self) -> dict[str, Any]:
        self.writer.write(HELLO)
        head = await self.reader.readexactly(4)
        rest = await self.reader.readexactly(struct.unpack("<i", head)[0] - 4)
        (frame,) = Frames().feed(head + rest)
        return heard(frame).body

    async def shown_out(self) -> bool:
        """Whether the connection ends."""
        try:
            async with asyncio.timeout(SECONDS):
                return await self.reader.read() == b""
        except ConnectionError:
            return True


def tcp(**more: Any) -> Listening:
    return Listening(host=HERE, **more)


def header(source: tuple[str, int], to: tuple[str, int], family: int = socket.AF_INET) -> bytes:
    addresses = b"".join(socket.inet_pton(family, host) for host, _ in (source, to))
    rest = addresses + struct.pack(">HH", source[1], to[1])
    return (
        SIGNATURE
        + bytes([0x21, FAMILIES[socket.AddressFamily(family)]])
        + (struct.pack(">H", len(rest)) + rest)
    )


def test_three_ways_in(inside: Callable[..., None], folder: Path, tmp_path: Path) -> None:
    async def work(at: Open) -> None:
        plain, safe, _ = at.bound
        async with at.visit() as visitor:
            assert (await visitor.hello())["ok"]
            (channel,) = at.channels
            assert channel.peer.startswith(f"{HERE}:")
            assert channel == Channel(channel.peer, here=f"{HERE}:{plain.port}")
        theirs = trusting(folder / "tests-ca.pem", folder / "client.pem")
        async with at.visit(number=1, ssl=theirs, server_hostname="db.example.com") as visitor:
            assert (await visitor.hello())["ok"]
            (channel,) = at.channels
            assert channel == Channel(
                channel.peer,
                secure=True,
                server_name="db.example.com",
                subject="CN=client,O=tests",
                replica_set="rs",
                here=f"db.example.com:{safe.port}",
            )
        async with at.visit(number=2) as visitor:
            assert (await visitor.hello())["ok"]
            assert at.channels == [Channel("local", balanced=True, here=":0")]
        assert at.channels == []

    inside(
        work,
        tcp(),
        tcp(tls=True, keys=keys(folder), presentation="replicaset:rs"),
        Listening(path=str(tmp_path / "s"), presentation="loadbalanced"),
    )
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", HELLO, b"\x16\x03\x01\0\1\0", b"\0"])
def test_a_handshake_that_fails(inside: Callable[..., None], folder: Path, first: bytes) -> None:
    async def work(at: Open) -> None:
        for _ in range(3):
            async with at.visit(first) as visitor:
                visitor.writer.write_eof()
                await asyncio.wait_for(visitor.reader.read(), SECONDS)
        assert at.channels == []
        assert at.porters.porters[0].admission.inside == 0

    inside(work, tcp(tls=True, keys=keys(folder)))


def test_a_handshake_that_does_not_go_on(inside: Callable[..., None], folder: Path) -> None:
    async def work(at: Open) -> None:
        async with at.visit(b"\x16\x03") as visitor:
            assert await visitor.shown_out()
        assert at.porters.porters[0].admission.inside == 0
        async with at.visit(b"\x16\x03"):
            pass
        async with at.visit(b"\x16\x03"):
            return  # the listener closes now

    inside(work, tcp(tls=True, keys=keys(folder)), login_seconds=0.2)


def test_who_is_where_the_balancer_says(inside: Callable[..., None], folder: Path) -> None:
    async def work(at: Open) -> None:
        said = header(("10.1.2.3", 5000), ("10.9.9.9", 27017))
        async with at.visit() as visitor:
            for byte in said:  # in the smallest pieces
                visitor.writer.write(bytes([byte]))
                await visitor.writer.drain()
            assert (await visitor.hello())["ok"]
            assert at.channels == [Channel("10.1.2.3:5000", here="10.9.9.9:27017")]
        async with at.visit(said + HELLO) as visitor:
            assert (await visitor.hello())["ok"]
        six = header(("::5", 5000), ("::9", 27017), socket.AF_INET6)
        async with at.visit(six) as visitor:
            assert (await visitor.hello())["ok"]
            assert at.channels == [Channel("::5:5000", here="[::9]:27017")]
        async with at.visit(SIGNATURE + bytes([0x20, 0, 0, 0])) as visitor:
            assert (await visitor.hello())["ok"]
            assert at.channels[0].peer.startswith(HERE)
        # and with TLS behind the header
        raw = socket.create_connection((at.bound[1].host, at.bound[1].port))
        raw.sendall(said)
        raw.setblocking(False)
        theirs = trusting(folder / "tests-ca.pem")
        reader, writer = await asyncio.open_connection(
            sock=raw, ssl=theirs, server_hostname="localhost"
        )
        assert (await Visitor(reader, writer).hello())["ok"]
        assert (at.channels[0].peer, at.channels[0].secure) == ("10.1.2.3:5000", True)
        writer.transport.abort()
        await asyncio.sleep(0.02)

    believed = {"proxy_protocol": True, "trusted": ("127.0.0.0/8",)}
    inside(work, tcp(**believed), tcp(**believed, tls=True, keys=keys(folder)))


@pytest.mark.parametrize(
    "first", [HELLO, b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", SIGNATURE + b"\x21\x11\0\0", b"\r\n"]
)
def test_a_header_that_is_none(inside: Callable[..., None], first: bytes) -> None:
    async def work(at: Open) -> None:
        async with at.visit(first) as visitor:
            assert await visitor.shown_out()
        assert at.channels == []

    inside(work, tcp(proxy_protocol=True, trusted=(f"{HERE}/32",)), first_byte_seconds=0.2)


def test_a_header_from_somebody_else(inside: Callable[..., None]) -> None:
    async def work(at: Open) -> None:
        async with at.visit(header(("10.1.2.3", 5), ("10.1.2.4", 6))) as visitor:
            assert await visitor.shown_out()
        assert at.channels == []

    inside(work, tcp(proxy_protocol=True, trusted=("10.0.0.0/8",)))


@pytest.mark.parametrize("bounds", [{"max_connections": 2}, {"max_connections_per_address": 2}])
def test_one_too_many(inside: Callable[..., None], bounds: dict[str, int]) -> None:
    async def work(at: Open) -> None:
        async with at.visit() as first, at.visit() as second:
            assert (await first.hello())["ok"]
            assert (await second.hello())["ok"]
            async with at.visit() as third:
                assert await third.shown_out()
        async with at.visit() as again:
            assert (await again.hello())["ok"]

    inside(work, tcp(), **bounds)


def test_one_too_many_behind_a_balancer(inside: Callable[..., None]) -> None:
    async def work(at: Open) -> None:
        one, other = (header((f"10.0.0.{n}", 5), ("10.1.2.4", 6)) for n in (1, 2))
        async with at.visit(one) as first, at.visit(other) as second:
            assert (await first.hello())["ok"]
            assert (await second.hello())["ok"]
            async with at.visit(one) as third:
                assert await third.shown_out()

    trusted = {"proxy_protocol": True, "trusted": (f"{HERE}/32",)}
    inside(work, tcp(**trusted), max_connections_per_address=1)


def test_who_comes_too_fast_waits(inside: Callable[..., None]) -> None:
    async def work(at: Open) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(10):
            async with at.visit() as visitor:
                assert (await visitor.hello())["ok"]
        assert loop.time() - began > 0.8
        async with at.visit():
            return  # while nobody is accepted

    inside(work, tcp(), connections_per_second=5)


def test_no_files_are_left(inside: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(porters, "BREATH_SECONDS", 0.1)

    async def work(at: Open) -> None:
        (porter,) = at.porters.porters
        accept, failing = socket.socket.accept, [OSError(24, "Too many open files")]

        def seldom(self: socket.socket) -> Any:
            if failing:
                raise failing.pop()
            return accept(self)

        monkeypatch.setattr(socket.socket, "accept", seldom)
        async with at.visit() as visitor:
            assert (await visitor.hello())["ok"]
        assert not failing
        assert porter.admission.inside == 0

    inside(work, tcp())


def test_other_certificates(inside: Callable[..., None], folder: Path, tmp_path: Path) -> None:
    mine = keys(folder).model_copy(update={"certificate": tmp_path / "x.pem"})
    (tmp_path / "x.pem").write_text((folder / "server.pem").read_text())

    async def shown(at: Open) -> bytes:
        theirs = trusting(folder / "tests-ca.pem")
        async with at.visit(ssl=theirs, server_hostname="localhost") as visitor:
            found: bytes = visitor.writer.get_extra_info("ssl_object").getpeercert(True)
            return found

    async def work(at: Open) -> None:
        first = await shown(at)
        Authority(folder).issue("/O=tests/CN=second", "DNS:localhost")
        (tmp_path / "x.pem").write_text((folder / "second.pem").read_text())
        prepared = at.porters.prepared()
        assert await shown(at) == first
        at.porters.swap(prepared)
        assert await shown(at) != first
        (tmp_path / "x.pem").write_text("junk")
        with pytest.raises(ConfigurationError):
            at.porters.prepared()
        assert await shown(at) != first

    inside(work, tcp(tls=True, keys=mine))
