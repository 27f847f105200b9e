"""Several listeners at once, by one process or two: plain, TLS, Unix socket; new certificates."""

import signal
import socket
import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, ServerSelectionTimeoutError

from tests.support.certificates import Authority
from tests.support.node import node, run_node, told
from tests.support.pages import PATIENCE_SECONDS, metric, soon
from tests.support.programs import ROOT
from tests.support.proxies import AT_ONCE, Client, Proxy, serving
from tests.support.replicas import lasting_port

SHORT_MS = 1_500


@dataclass(frozen=True, slots=True)
class Many:
    """A proxy with several listeners, and the files of its certificates."""

    proxy: Proxy
    authority: Authority
    folder: Path
    admin: str
    tls: int
    strict: int
    unix: Path

    def uri(self, slug: str, place: str, options: str = "") -> str:
        """Give an app's URI at another listener."""
        return self.proxy.uris[slug].replace(self.proxy.address, place) + options

    def tls_uri(self, slug: str = "shop", *, port: int = 0, own: Path | None = None) -> str:
        files = f"?tls=true&tlsCAFile={self.authority.path}"
        mine = f"&tlsCertificateKeyFile={own}" if own else ""
        return self.uri(slug, f"localhost:{port or self.tls}", files + mine)

    def serial(self) -> int:
        """Give the serial number of the certificate that a handshake shows now."""
        context = ssl.create_default_context(cafile=str(self.authority.path))
        with (
            socket.create_connection(("localhost", self.tls)) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as found,
        ):
            shown: Any = found.getpeercert()
        return int(shown["serialNumber"], 16)

    def hang_up(self, outcome: str) -> None:
        """Have it read its certificates again."""
        line = f'mdb_proxy_manifest_reloads_total{{outcome="{outcome}"}}'
        before = metric(self.admin, line)
        self.proxy.program.process.send_signal(signal.SIGHUP)
        assert soon(lambda: metric(self.admin, line) > before, PATIENCE_SECONDS), (
            self.proxy.program.tail()
        )


def renew(authority: Authority) -> None:
    """Write another certificate into the same files."""
    authority.issue("/O=tests/CN=server", "DNS:localhost,IP:127.0.0.1")


@pytest.fixture(scope="module", params=["1", "2"], ids=["one process", "two processes"])
def many(
    request: pytest.FixtureRequest, mongo_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Many]:
    folder = tmp_path_factory.mktemp("many")
    authority = Authority(folder).made()
    renew(authority)
    authority.issue("/O=tests/CN=the client")
    tls, strict, admin, unix = lasting_port(), lasting_port(), lasting_port(), folder / "mdb.sock"
    clients = f"client_ca={authority.path}&client_certificates=required"
    options = [
        *("--listen", f"tls://127.0.0.1:{tls}"),
        *("--listen", f"tls://localhost:{strict}?{clients}"),
        *("--listen", f"unix://{unix}?mode=0660"),
        *("--tls-certificate", str(folder / "server.crt")),
        *("--tls-key", str(folder / "server.key")),
        *("--admin", f"127.0.0.1:{admin}", "--workers", request.param),
    ]
    with serving(mongo_uri, ROOT / "manifests", folder / "log", *options, **AT_ONCE) as proxy:
        said = [proxy.program.line() for _ in range(3)]
        places = [f"tls://127.0.0.1:{tls}", f"tls://localhost:{strict}", f"unix://{unix}"]
        assert said == [f"listening on {place}" for place in places]
        yield Many(proxy, authority, folder, f"http://127.0.0.1:{admin}/metrics", tls, strict, unix)
    assert not unix.exists()


def works(uri: str, name: str, **options: Any) -> None:
    """Read, write, a transaction and a cursor of several batches."""
    with MongoClient(uri, serverSelectionTimeoutMS=5_000, **options) as client:
        coll = client.shop[name]
        coll.insert_many([{"n": n} for n in range(250)])
        assert len(list(coll.find(batch_size=100))) == 250
        with client.start_session() as session, session.start_transaction():
            coll.insert_one({"n": 250}, session=session)
        assert coll.count_documents({}) == 251
        coll.drop()


def test_all_of_them(many: Many, name: str) -> None:
    own = many.folder / "the-client.pem"
    for uri in (
        many.proxy.uris["shop"],
        many.tls_uri(),
        many.tls_uri(port=many.strict, own=own),
        many.uri("shop", quote(str(many.unix), safe="")),
    ):
        works(uri, name)
    with many.proxy.client("shop") as client:
        peer = client.admin.command("whatsmyuri")["you"]
        assert peer.startswith("127.0.0.1:")
    with MongoClient(many.uri("shop", quote(str(many.unix), safe=""))) as client:
        assert client.admin.command("whatsmyuri")["you"] == "local"
    assert stat.S_IMODE(many.unix.stat().st_mode) == 0o660


def test_node_over_tls(many: Many) -> None:
    text = """
      const client = await new MongoClient(process.env.URI).connect();
      const found = client.db('shop').collection('node_tls');
      await found.insertOne({n: 1});
      said.n = await found.countDocuments({});
      await found.drop();
      await client.close();
    """
    assert run_node(text, URI=many.tls_uri()) == {"n": 1}


@pytest.mark.parametrize("why", ["no certificate", "no TLS", "TLS at a plain port", "a stranger"])
def test_who_is_not_let_in(many: Many, why: str) -> None:
    (many.folder / "others").mkdir(exist_ok=True)
    stranger = Authority(many.folder / "others", "strangers").made().issue("/O=x/CN=stranger")
    uri = {
        "no certificate": many.tls_uri(port=many.strict),
        "no TLS": many.uri("shop", f"localhost:{many.tls}"),
        "TLS at a plain port": many.tls_uri(port=many.proxy.port),
        "a stranger": many.tls_uri(port=many.strict, own=stranger),
    }[why]
    with (
        MongoClient(uri, serverSelectionTimeoutMS=SHORT_MS) as client,
        pytest.raises((ServerSelectionTimeoutError, ConnectionFailure)),
    ):
        client.admin.command("ping")


LOAD = """
  const client = await new MongoClient(process.env.URI, {maxPoolSize: 4, retryReads: false,
    retryWrites: false}).connect();
  const found = client.db('shop').collection('node_load');
  let stop = false;
  process.stdin.on('end', () => { stop = true; });
  process.stdin.resume();
  said.done = 0; said.errors = [];
  const worker = async () => {
    while (!stop) {
      try { await found.updateOne({_id: 1}, {$inc: {n: 1}}, {upsert: true}); said.done += 1; }
      catch (error) { said.errors.push(String(error)); }
    }
  };
  await found.insertOne({_id: 1});
  await Promise.all([worker(), worker(), worker(), worker()]);
  await found.drop();
  await client.close();
"""


def test_new_certificates_under_load(many: Many) -> None:
    own = many.folder
    client: Client
    with (
        node(LOAD, URI=many.tls_uri()) as process,
        MongoClient(many.tls_uri(), retryWrites=False, retryReads=False) as client,
    ):
        found = client.shop.certified
        for _ in range(3):
            before = many.serial()
            renew(many.authority)
            many.hang_up("ok")
            for _ in range(20):
                assert many.serial() != before
            for _ in range(50):
                found.insert_one({})
        kept = many.serial()
        (own / "server.crt").write_text("junk")
        many.hang_up("failed")
        assert many.serial() == kept
        assert "reload.failed" in many.proxy.program.log.read_text()
        renew(many.authority)
        many.hang_up("ok")
        assert many.serial() != kept
        found.insert_one({})
        found.drop()
        said = told(process)
    assert said["errors"] == []
    assert said["done"] > 50
