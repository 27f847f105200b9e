"""The ways to log in that need TLS, by unchanged drivers, at two workers: passwords as they are,
certificates, tokens, and hosts that belong to an app."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient, MongoClient
from pymongo.auth_oidc import OIDCCallback, OIDCCallbackContext, OIDCCallbackResult
from pymongo.errors import OperationFailure

from tests.e2e.test_logins import node, shell
from tests.support.certificates import Authority
from tests.support.programs import create_credential, run
from tests.support.proxies import AT_ONCE, Client, Proxy, serving
from tests.support.servers import free_port
from tests.support.tokens import AUDIENCE, Published, published

REPORTS = "CN=reports,O=tests"
DOMAIN = "db.test"


@dataclass(frozen=True, slots=True)
class Guarded:
    """A proxy with a TLS listener, whose clients may show certificates."""

    proxy: Proxy
    authority: Authority
    port: int
    issuer: Published
    cluster: dict[str, str]
    cards: dict[str, Path] = field(default_factory=dict)

    def create(self, slug: str, *options: str) -> dict[str, Any]:
        made = create_credential(slug, *options, **self.cluster)
        time.sleep(2.5)  # until the proxy knows it
        return made

    def card(self, name: str) -> Path:
        """Give a client's certificate and key."""
        if name not in self.cards:
            self.cards[name] = self.authority.issue(f"/O=tests/CN={name}")
        return self.cards[name]

    def uri(self, who: str = "", options: str = "", host: str = "localhost") -> str:
        """Give a URI over TLS; `who` as `name:password@`."""
        return (
            f"mongodb://{who}{host}:{self.port}/?tls=true&tlsCAFile={self.authority.path}{options}"
        )

    def by_password(self, made: dict[str, Any], mechanism: str) -> str:
        source = "$external" if mechanism == "PLAIN" else "admin"
        options = f"&authMechanism={mechanism}&authSource={quote(source)}"
        return self.uri(f"{made['name']}:{quote(made['password'])}@", options)

    def by_card(self, name: str) -> str:
        options = "&authMechanism=MONGODB-X509&authSource=%24external"
        return self.uri("", f"{options}&tlsCertificateKeyFile={self.card(name)}")


@pytest.fixture(scope="module")
def guarded(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    manifests = folder / "manifests"
    manifests.mkdir()
    people = {"x509": [{"subject": "cn=reports, O=tests", "role": "read"}]}
    for slug, more in (("shop", {}), ("crm", {"proxy": people})):
        (manifests / f"{slug}.json").write_text(json.dumps({"slug": slug, "name": slug, **more}))
    authority, port = Authority(folder).made(), free_port()
    authority.issue("/O=tests/CN=server", f"DNS:localhost,DNS:*.{DOMAIN}")
    clients = f"client_ca={authority.path}&client_certificates=optional"
    options = [
        *("--listen", f"tls://127.0.0.1:{port}?{clients}"),
        *("--tls-certificate", str(folder / "server.crt")),
        *("--tls-key", str(folder / "server.key")),
        *("--workers", "2", "--log-level", "debug"),
    ]
    with published("rsa") as issuer:
        rule = {"issuer": issuer.issuer, "audience": AUDIENCE, "claim": "app"}
        settings = {**AT_ONCE, "MDB_PROXY_OIDC": json.dumps([rule])}
        with serving(mongo_uri, manifests, folder / "log", *options, **settings) as proxy:
            cluster = {"MONGO_URI": mongo_uri, "MONGO_DB_NAME": proxy.db_name}
            yield Guarded(proxy, authority, port, issuer, cluster)


def user(uri: str, **options: Any) -> dict[str, Any]:
    """Log in and give the user, and do what apps do."""
    client: Client
    with MongoClient(uri, serverSelectionTimeoutMS=10_000, **options) as client:
        client.shop.tasks.find_one()
        info = client.admin.command("connectionStatus")["authInfo"]
        return dict(info["authenticatedUsers"][0])


def refused(uri: str, **options: Any) -> bool:
    with pytest.raises(OperationFailure) as caught:
        user(uri, **options)
    details = caught.value.details or {}
    return (caught.value.code, details["errmsg"]) == (18, "Authentication failed.")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_passwords_over_tls(guarded: Guarded, mongosh: Path, mechanism: str) -> None:
    made = guarded.create("shop", "--plain", "--sha1")
    uri = guarded.by_password(made, mechanism)
    expected = {"user": made["name"], "db": "shop"}
    assert user(uri) == expected
    assert node(uri, {})["users"] == [expected]
    status = "db.runCommand({connectionStatus: 1}).authInfo.authenticatedUsers"
    assert shell(mongosh, uri, status) == [expected]
    usual = guarded.create("shop")
    if mechanism != "SCRAM-SHA-256":
        assert refused(guarded.by_password(usual, mechanism))
    wrong = {**made, "password": "wrong"}
    assert refused(guarded.by_password(wrong, mechanism))
    assert made["password"] not in guarded.proxy.program.log.read_text()


def test_a_large_message_right_after_a_slow_login(guarded: Guarded) -> None:
    made = guarded.create("shop", "--plain")
    client: Client
    with MongoClient(guarded.by_password(made, "PLAIN"), maxPoolSize=1) as client:
        client.shop.large.insert_one({"x": "y" * 1_000_000})


def test_certificates(guarded: Guarded, mongosh: Path) -> None:
    made = guarded.create("shop", "--x509-subject", "cn=bot, o=tests", "--name", "bot")
    assert "password" not in made
    uri, expected = guarded.by_card("bot"), {"user": "bot", "db": "shop"}
    assert user(uri) == expected
    assert user(uri, username="CN=bot,O=tests") == expected
    assert refused(uri, username="CN=other,O=tests")
    assert node(uri, {})["users"] == [expected]
    status = "db.runCommand({connectionStatus: 1}).authInfo.authenticatedUsers"
    assert shell(mongosh, uri, status) == [expected]
    assert refused(guarded.by_card("nobody"))
    assert refused(guarded.uri("", "&authMechanism=MONGODB-X509&authSource=%24external"))
    assert node(guarded.by_card("nobody"), {})["code"] == 18


@pytest.mark.parametrize("kind", [AsyncMongoClient, AsyncIOMotorClient])
def test_asynchronous_clients(guarded: Guarded, kind: Any) -> None:
    card = guarded.create("shop", "--x509-subject", f"CN={kind.__name__},O=tests")
    made = guarded.create("shop", "--plain")

    async def main(uri: str) -> Any:
        client = kind(uri, serverSelectionTimeoutMS=10_000)
        try:
            await client.shop.tasks.find_one()
            return await client.admin.command("connectionStatus")
        finally:
            closed = client.close()
            if closed is not None:
                await closed

    for uri, name in (
        (guarded.by_card(kind.__name__), card["name"]),
        (guarded.by_password(made, "PLAIN"), made["name"]),
    ):
        info = asyncio.run(main(uri))["authInfo"]
        assert info["authenticatedUsers"] == [{"user": name, "db": "shop"}]


def test_a_certificate_that_a_manifest_names(guarded: Guarded) -> None:
    client: Client
    with MongoClient(guarded.by_card("reports")) as client:
        client.crm.tasks.find_one()
        info = client.admin.command("connectionStatus")["authInfo"]
        assert info["authenticatedUsers"] == [{"user": REPORTS, "db": "$external"}]
        assert info["authenticatedUserRoles"] == [{"role": "read", "db": "crm"}]
        with pytest.raises(OperationFailure) as caught:
            client.crm.tasks.insert_one({})
        assert caught.value.code == 13
        stored = guarded.create("shop", "--x509-subject", REPORTS, "--role", "read")
        client.admin.command("ping")
        info = client.admin.command("connectionStatus")["authInfo"]
        assert info["authenticatedUsers"] == [{"user": stored["name"], "db": "shop"}]
        disable = ("mdb", "apps", "credentials", "disable", stored["name"])
        assert run(*disable, **guarded.cluster).returncode == 0
        time.sleep(2.5)
        with pytest.raises(OperationFailure) as caught:
            client.crm.tasks.find_one()
        assert caught.value.code == 18


@dataclass
class Callback(OIDCCallback):
    """Gets short tokens of an issuer."""

    issuer: Published
    seconds: float
    asked: int = 0

    def fetch(self, _context: OIDCCallbackContext) -> OIDCCallbackResult:
        self.asked += 1
        now = time.time()
        return OIDCCallbackResult(self.issuer.token(now, exp=now + self.seconds))


def test_tokens_at_two_workers(guarded: Guarded) -> None:
    """The same user on connections that lead to both; each shows its own next token."""
    callback = Callback(guarded.issuer, 2)
    client: Client
    with MongoClient(
        guarded.uri(),
        authMechanism="MONGODB-OIDC",
        authMechanismProperties={"OIDC_CALLBACK": callback},
    ) as client:
        client.shop.by_token.insert_many([{"_id": n} for n in range(100)])
        cursors = [client.shop.by_token.find(batch_size=2) for _ in range(8)]
        for cursor in cursors:
            next(cursor)
        time.sleep(2.5)
        assert [len(list(cursor)) for cursor in cursors] == [99] * 8
    assert callback.asked >= 2


@pytest.fixture(scope="module")
def hosts(
    guarded: Guarded, mongo_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    """Run a second proxy, where each app has a host."""
    folder, port = tmp_path_factory.mktemp("hosts"), free_port()
    manifests = folder / "manifests"
    manifests.mkdir()
    for slug in ("shop", "crm"):
        (manifests / f"{slug}.json").write_text(json.dumps({"slug": slug, "name": slug}))
    options = [
        *("--listen", f"tls://127.0.0.1:{port}"),
        *("--tls-certificate", str(guarded.authority.folder / "server.crt")),
        *("--tls-key", str(guarded.authority.folder / "server.key")),
    ]
    settings = {**AT_ONCE, "MDB_PROXY_SNI_DOMAIN": DOMAIN}
    with serving(mongo_uri, manifests, folder / "log", *options, **settings) as proxy:
        cluster = {"MONGO_URI": mongo_uri, "MONGO_DB_NAME": proxy.db_name}
        yield Guarded(proxy, guarded.authority, port, guarded.issuer, cluster)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all hosts of the domain lead to this machine."""
    asked = socket.getaddrinfo

    def answer(host: Any, *more: Any, **named: Any) -> Any:
        here = isinstance(host, str) and host.endswith(DOMAIN)
        return asked("127.0.0.1" if here else host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.mark.usefixtures("names")
def test_a_host_of_each_app(hosts: Guarded) -> None:
    made = {slug: hosts.create(slug) for slug in ("shop", "crm")}
    who = {slug: f"{each['name']}:{quote(each['password'])}@" for slug, each in made.items()}
    assert user(hosts.uri(who["shop"], host=f"shop.{DOMAIN}"))["user"] == made["shop"]["name"]
    assert refused(hosts.uri(who["shop"], host=f"crm.{DOMAIN}"))
    assert refused(hosts.uri(who["shop"]))
    assert refused(hosts.proxy.uris["shop"]), "a plain connection names no host"
    client: Client
    with MongoClient(hosts.uri(who["crm"], host=f"crm.{DOMAIN}")) as client:
        client.crm.tasks.find_one()
