"""Who guesses, floods, dawdles or speaks another language: shown out, and nobody else notices."""

import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bson
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from tests.support import config
from tests.support.certificates import Authority
from tests.support.lines import Line
from tests.support.pages import metric, soon
from tests.support.programs import ROOT
from tests.support.proxies import AT_ONCE, Client, Proxy, serving
from tests.support.replicas import lasting_port
from tests.support.strangers import CROWD, Stranger, all_closed, strangers
from tests.support.talks import message

GUESSES = 10_000 if config.SEARCH else 1_000
FLOOD = 10_000 if config.SEARCH else 2_000
MANY = 1_000 if config.SEARCH else 200
ADDRESS_MOST = 300
THERE = "127.0.0.2"
HELLO = message({"hello": 1, "$db": "admin"})
TLS_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
BOUNDS = {
    "MDB_PROXY_FIRST_BYTE_SECONDS": "1",
    "MDB_PROXY_LOGIN_SECONDS": "3",
    "MDB_PROXY_FRAME_SECONDS": "5",
    "MDB_PROXY_SEND_SECONDS": "2",
    "MDB_PROXY_MAX_CONNECTIONS_PER_ADDRESS": str(ADDRESS_MOST),
    "MDB_PROXY_MAX_BUFFERED_BYTES": "48000000",
}
SLACK = 4.0
"""Seconds; deadlines are looked at every second, and this machine may be busy."""


@dataclass(frozen=True, slots=True)
class Strict:
    """A proxy with little patience, and how to come to it."""

    proxy: Proxy
    tls: int
    trust: Path
    page: str

    def counted(self, start: str) -> float:
        return metric(self.page, f"mdb_proxy_{start}")


@pytest.fixture(scope="module")
def strict(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strict]:
    folder = tmp_path_factory.mktemp("strict")
    authority = Authority(folder).made()
    pem = authority.issue("/O=tests/CN=server", "DNS:localhost,IP:127.0.0.1")
    tls, admin = lasting_port(), lasting_port()
    options = [
        *("--listen", f"tls://127.0.0.1:{tls}", "--tls-certificate", str(pem)),
        *("--admin", f"127.0.0.1:{admin}"),
    ]
    settings = {**AT_ONCE, **BOUNDS}
    with serving(mongo_uri, ROOT / "manifests", folder / "log", *options, **settings) as proxy:
        yield Strict(proxy, tls, authority.path, f"http://127.0.0.1:{admin}/metrics")


@dataclass(slots=True)
class Guest:
    """A client that behaves, from another address, and how long it waited for its answers."""

    seconds: list[float] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    @property
    def slowest(self) -> float:
        return max(self.seconds)


@contextmanager
def guest(strict: Strict, app: str = "crm") -> Iterator[Guest]:
    """Ask all the time while the block runs; log in anew now and then."""
    stop, found = False, Guest()

    def work() -> None:
        while not stop:
            try:
                with Line(strict.proxy.uris[app], source=THERE) as line:
                    for _ in range(20):
                        began = time.monotonic()
                        assert bson.decode(line.ask(app, {"find": "x", "limit": 1}))["ok"]
                        found.seconds.append(time.monotonic() - began)
                        time.sleep(0.005)
            except (OSError, AssertionError) as error:
                found.errors.append(error)

    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(work)
        try:
            yield found
        finally:
            stop = True
            working.result()
    assert found.errors == []
    assert found.seconds


def works(strict: Strict, app: str = "crm") -> None:
    """A client comes anew, over both ports."""
    with Line(strict.proxy.uris[app], source=THERE) as line:
        assert bson.decode(line.ask(app, {"find": "x", "limit": 1}))["ok"]
    uri = strict.proxy.uris[app].replace(strict.proxy.address, f"127.0.0.1:{strict.tls}")
    with MongoClient(f"{uri}?tls=true&tlsCAFile={strict.trust}") as client:
        assert client.admin.command("ping")["ok"]


def test_wrong_passwords(strict: Strict, measured: Callable[[str], None]) -> None:
    codes: list[int] = []
    began = time.monotonic()
    before = strict.counted("throttled_logins_total")
    with guest(strict) as there:
        for _ in range(GUESSES // 20):
            # few on each connection: who does not log in may not stay long
            with Stranger(strict.proxy.port) as stranger:
                replies = [stranger.guesses("shop") for _ in range(20)]
            codes += [reply["code"] for reply in replies]
        seconds = time.monotonic() - began
        # another name from the same address, the same name from another one
        with strict.proxy.client("crm") as client:
            client.crm.command("ping")
        with Line(strict.proxy.uris["shop"], source=THERE) as line:
            assert bson.decode(line.ask("shop", {"find": "x"}))["ok"]
        # the right password from there: drivers back off, and keep their pools
        with (
            strict.proxy.client("shop") as client,
            pytest.raises(OperationFailure) as error,
        ):
            client.shop.command("ping")
    assert error.value.code == 462
    assert error.value.has_error_label("SystemOverloadedError")
    assert error.value.has_error_label("RetryableError")
    looked_at = codes.count(18)
    assert 10 <= looked_at <= 11 + seconds / 6
    assert set(codes) == {18, 462}
    assert strict.counted("throttled_logins_total") - before >= GUESSES - looked_at
    with strict.proxy.client("shop") as client:
        assert soon(lambda: logged_in(client), 30), "it is let in after a while"
    with Stranger(strict.proxy.port) as stranger:
        assert stranger.guesses("shop")["code"] == 18, "and then nothing is remembered"
    measured(
        f"{GUESSES} wrong passwords in {seconds:.1f} s: {looked_at} looked at, another client's "
        f"slowest of {len(there.seconds)} answers {there.slowest * 1000:.0f} ms"
    )


def logged_in(client: Client) -> bool:
    try:
        client.shop.command("ping")
    except OperationFailure:
        return False
    return True


def test_a_flood_of_connections(strict: Strict, measured: Callable[[str], None]) -> None:
    refused = f'arrivals_total{{listener="{strict.proxy.address}",outcome="address"}}'
    before = strict.counted(refused)
    with guest(strict) as there:
        began = time.monotonic()
        held: list[Stranger] = []
        for _ in range(FLOOD):
            try:
                held.append(Stranger(strict.proxy.port, CROWD))
            except OSError:
                continue
            if len(held) > 2 * ADDRESS_MOST:
                held.pop(0).socket.close()
        seconds = time.monotonic() - began
        for each in held:
            each.socket.close()
    assert strict.counted(refused) > before
    assert there.slowest < SLACK
    assert soon(lambda: strict.counted("listener_connections") <= 2, SLACK)
    works(strict)
    measured(
        f"{FLOOD} connections in {seconds:.1f} s: {strict.counted(refused) - before:.0f} refused, "
        f"another client's slowest of {len(there.seconds)} answers {there.slowest * 1000:.0f} ms"
    )


@pytest.mark.parametrize("size", [65_537, 48_000_001, 15, -1, 0x7FFFFFFF])
def test_frames_of_no_good_size(strict: Strict, size: int) -> None:
    before = strict.counted("decoding_errors_total")
    with Stranger(strict.proxy.port) as stranger:
        stranger.says(struct.pack("<iiii", size, 1, 0, 2013) + bytes(100))
        assert stranger.hears() == b""
    with Line(strict.proxy.uris["shop"]) as line:
        line._socket.sendall(struct.pack("<iiii", max(size, 48_000_001), 1, 0, 2013))
        with pytest.raises(ConnectionError):
            line.receive()
    assert soon(lambda: strict.counted("decoding_errors_total") == before + 2)
    works(strict)


def test_other_languages(strict: Strict) -> None:
    with Stranger(strict.proxy.port) as stranger:
        stranger.says(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"This port speaks the MongoDB wire protocol." in stranger.hears()
    began = time.monotonic()
    for port, said in (
        (strict.proxy.port, TLS_HELLO),
        (strict.tls, HELLO),
        (strict.tls, b"GET / HTTP/1.1\r\n\r\n"),
    ):
        with Stranger(port) as stranger:
            stranger.says(said)
            stranger.hears()
    assert time.monotonic() - began < 1.0, "nobody waits for a deadline"
    assert strict.counted(f'arrivals_total{{listener="tls://127.0.0.1:{strict.tls}"') >= 2
    works(strict)


@pytest.mark.parametrize(
    ("where", "first", "seconds", "reason"),
    [
        ("plain", b"", 1, "it says nothing"),
        ("plain", HELLO[:20], 3, "it does not log in"),
        ("TLS", TLS_HELLO, 3, "tls_handshake"),
        ("TLS", b"", 3, "tls_handshake"),
    ],
)
def test_who_does_not_go_on(
    strict: Strict, where: str, first: bytes, seconds: float, reason: str
) -> None:
    port = strict.tls if where == "TLS" else strict.proxy.port
    counted = f'arrivals_total{{listener="tls://127.0.0.1:{port}",outcome="{reason}"}}'
    counted = counted if where == "TLS" else f'clients_dropped_total{{reason="{reason}"}}'
    before = strict.counted(counted)
    with guest(strict) as there, strangers(port, MANY, first) as found:
        assert all_closed(found, seconds + SLACK)
        works(strict)
    assert there.slowest < SLACK
    assert soon(lambda: strict.counted(counted) == before + MANY)


def test_byte_after_byte(strict: Strict) -> None:
    with guest(strict) as there, strangers(strict.proxy.port, MANY) as found:
        for byte in range(8):
            for each in found:
                each.says(HELLO[byte : byte + 1])
            time.sleep(0.5)
        assert all_closed(found, SLACK)
    assert there.slowest < SLACK


def test_a_monitor_may_stay(strict: Strict) -> None:
    with Stranger(strict.proxy.port) as monitor:
        for _ in range(3):
            assert monitor.asks({"hello": 1, "$db": "admin"})["ok"]
            time.sleep(2)
        with Line(strict.proxy.uris["shop"]) as half:
            half._socket.sendall(HELLO[:30])
            with pytest.raises(ConnectionError):
                half.receive()
        assert monitor.asks({"hello": 1, "$db": "admin"})["ok"]


def memory(pid: int) -> int:
    """Give the bytes that a process holds now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmRSS")]
    return 1024 * int(line.split()[1])


def test_who_does_not_read(strict: Strict, name: str, measured: Callable[[str], None]) -> None:
    size, count = 15_000_000, 40
    with strict.proxy.client("shop") as client:
        client.shop[name].insert_one({"_id": 1, "data": bytes(size)})
    pid = strict.proxy.program.process.pid
    before = memory(pid)
    command = {"find": name, "limit": 1}
    lines = [Line(strict.proxy.uris["shop"]) for _ in range(count)]
    most = 0
    with guest(strict) as there:
        for line in lines:
            line._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.send("shop", command)
            most = max(most, memory(pid))
            time.sleep(0.05)
        time.sleep(1)
        most = max(most, memory(pid))
        dropped = 'clients_dropped_total{reason="the client does not read what it asked for"}'
        assert soon(lambda: strict.counted(dropped) >= 4, 10)
    for line in lines:
        line.close()
    # the bound, what was on its way when it was reached, and what the allocator keeps
    assert most - before < count * size * 0.7
    assert there.slowest < 5 * SLACK, "hundreds of megabytes are moved beside it"
    with strict.proxy.client("shop") as client:
        assert len(client.shop[name].find_one()["data"]) == size
        client.shop[name].drop()
    measured(
        f"{count} clients that do not read {size // 1_000_000} MB each: "
        f"{(most - before) // 1_000_000} MB more in the proxy"
    )
