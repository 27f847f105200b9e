"""A cluster that wants TLS: our connections check it, and log in by password or certificate."""

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bson
import pytest
from pymongo import MongoClient

from mdb_engine.exceptions import InitializationError
from mdb_proxy.decisions import Exchange
from mdb_proxy.upstream import PoolSettings, open_upstream
from tests.support.certificates import Authority
from tests.support.programs import ROOT
from tests.support.proxies import AT_ONCE, serving
from tests.support.replicas import Member, lasting_port, until

SECONDS = 2
PASSWORD = secrets.token_hex(16)
PROXY = "/O=tests/CN=the proxy"
PROXY_NAME = "CN=the proxy,O=tests"


@dataclass(frozen=True, slots=True)
class Guarded:
    """A server that wants TLS and logins, and the files that lead to it."""

    port: int
    folder: Path
    trust: Path
    ours: Path
    stranger: Path

    def uri(self, options: str = "", who: str = "", host: str = "localhost") -> str:
        return f"mongodb://{who}{host}:{self.port}/?tls=true&tlsCAFile={self.trust}{options}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder).made()
    # valid under one name only: the host that a member is reached by is checked
    server = authority.issue("/O=servers/CN=server", "DNS:localhost")
    (folder / "other").mkdir()
    other = Authority(folder / "other", "strangers").made()
    key = folder / "keyfile"
    key.write_text(secrets.token_hex(32))
    key.chmod(0o400)
    member = Member(
        folder / "member",
        lasting_port(),
        (
            *("--replSet=rs0", f"--keyFile={key}", "--tlsMode=requireTLS"),
            *(f"--tlsCertificateKeyFile={server}", f"--tlsCAFile={authority.path}"),
            "--tlsAllowConnectionsWithoutCertificates",
        ),
    )
    ours = authority.issue(PROXY)
    made = Guarded(member.port, folder, authority.path, ours, other.issue("/O=x/CN=nobody"))
    member.start()
    try:
        prepare(made)
        yield made
    finally:
        member.kill()


def prepare(made: Guarded) -> None:
    """Initiate the set and make our users."""
    with MongoClient(made.uri("&directConnection=true"), serverSelectionTimeoutMS=2_000) as client:
        hosts = [{"_id": 0, "host": f"localhost:{made.port}"}]
        config = {"_id": "rs0", "members": hosts}
        until(lambda: client.admin.command("replSetInitiate", config), "the server to start")
        until(lambda: client.admin.command("hello")["isWritablePrimary"], "a primary")
        client.admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])
    with MongoClient(made.uri(who=f"root:{PASSWORD}@")) as client:
        for name in ("SCRAM-SHA-1", "SCRAM-SHA-256"):
            roles = ["readWriteAnyDatabase"]
            client.admin.command("createUser", name, pwd=PASSWORD, roles=roles, mechanisms=[name])
        rights = [
            {"role": name, "db": "admin"} for name in ("readWriteAnyDatabase", "dbAdminAnyDatabase")
        ]
        client["$external"].command("createUser", PROXY_NAME, roles=rights)


async def asked(uri: str) -> str:
    """Give who we are to the server, as it says itself."""
    pool = PoolSettings(max_size=2)
    async with open_upstream(uri, app_name="e2e", pool=pool, selection_timeout=SECONDS) as upstream:
        await upstream.check()
        body = bson.encode({"connectionStatus": 1, "$db": "admin"})
        status = bson.decode((await upstream.exchange(Exchange(body))).body)
    return ",".join(user["user"] for user in status["authInfo"]["authenticatedUsers"])


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
@pytest.mark.parametrize("named", [True, False])
def test_a_login_by_password(guarded: Guarded, mechanism: str, named: bool) -> None:
    how = f"&authMechanism={mechanism}" if named else ""
    uri = guarded.uri(f"&authSource=admin{how}", f"{mechanism}:{PASSWORD}@")
    assert asyncio.run(asked(uri)) == mechanism


@pytest.mark.parametrize("who", ["", "CN%3Dthe%20proxy%2CO%3Dtests@"])
def test_a_login_by_certificate(guarded: Guarded, who: str) -> None:
    how = f"&tlsCertificateKeyFile={guarded.ours}&authMechanism=MONGODB-X509"
    assert asyncio.run(asked(guarded.uri(how, who))) == PROXY_NAME


@pytest.mark.parametrize(
    ("options", "host", "says"),
    [
        ("&tlsCertificateKeyFile={stranger}", "localhost", "no member of the cluster"),
        ("&directConnection=true", "127.0.0.1", "no member of the cluster"),
        (
            "&tlsCertificateKeyFile={stranger}&authMechanism=MONGODB-X509",
            "localhost",
            "no member of the cluster",
        ),
        ("&authSource=admin", "root:wrong@localhost", "refused the login of user root"),
    ],
)
def test_who_is_not_trusted(guarded: Guarded, options: str, host: str, says: str) -> None:
    uri = guarded.uri(options.format(stranger=guarded.stranger), host=host)
    with pytest.raises(InitializationError, match=says) as caught:
        asyncio.run(asked(uri))
    assert "wrong" not in str(caught.value)


def test_a_server_that_is_not_trusted(guarded: Guarded) -> None:
    stranger = guarded.stranger.parent / "strangers-ca.pem"
    uri = guarded.uri().replace(str(guarded.trust), str(stranger))
    with pytest.raises(InitializationError, match="no member of the cluster"):
        asyncio.run(asked(uri))


def test_the_whole_proxy_by_certificate(guarded: Guarded, tmp_path: Path) -> None:
    uri = guarded.uri(f"&tlsCertificateKeyFile={guarded.ours}&authMechanism=MONGODB-X509")
    with (
        serving(uri, ROOT / "manifests", tmp_path / "log", **AT_ONCE) as proxy,
        proxy.client("shop") as client,
    ):
        client.shop.tasks.insert_many([{"_id": number} for number in range(300)])
        assert len(list(client.shop.tasks.find(batch_size=100))) == 300
        with client.start_session() as session, session.start_transaction():
            client.shop.tasks.delete_many({}, session=session)
        assert proxy.behind.shop_tasks.count_documents({}) == 0
