"""Every way to log in, by unchanged drivers; those that need TLS stand in test_certificates.py."""

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient, MongoClient
from pymongo.auth_oidc import OIDCCallback, OIDCCallbackContext, OIDCCallbackResult
from pymongo.errors import AutoReconnect, OperationFailure

from tests.support.pages import soon
from tests.support.programs import ROOT, create_credential, run
from tests.support.proxies import AT_ONCE, Client, Proxy, serving
from tests.support.tokens import AUDIENCE, Published, published

SHORT = 2
"""Seconds that a token lasts which is to end in the middle of a connection."""

SECONDS = 90


@dataclass(frozen=True, slots=True)
class Place:
    """A proxy that trusts an issuer, and old clients' passwords."""

    proxy: Proxy
    issuer: Published
    cluster: dict[str, str]

    def wait(self) -> None:
        """Let the proxy learn of a change."""
        time.sleep(2.5)

    def create(self, *options: str) -> dict[str, Any]:
        """Make a credential of the shop."""
        made = create_credential("shop", "--proxy", self.proxy.address, *options, **self.cluster)
        self.wait()
        return made


@pytest.fixture(scope="module")
def place(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("logins")
    with published("rsa") as issuer:
        rules = [
            {"issuer": issuer.issuer, "audience": AUDIENCE, "claim": "app", "client_id": "shell",
             "scopes": ["openid"]},
            {"issuer": issuer.issuer, "audience": "readers", "claim": "app", "role": "read",
             "jwks": f"{issuer.issuer}/keys"},
        ]  # fmt: skip
        settings = {**AT_ONCE, "MDB_PROXY_OIDC": json.dumps(rules)}
        log = folder / "stderr.log"
        with serving(
            mongo_uri, ROOT / "manifests", log, "--log-level", "debug", **settings
        ) as proxy:
            cluster = {"MONGO_URI": mongo_uri, "MONGO_DB_NAME": proxy.db_name}
            yield Place(proxy, issuer, cluster)


@dataclass
class Callback(OIDCCallback):
    """Gets tokens, as an app does; counts how often it was asked."""

    issuer: Published
    claims: dict[str, Any] = field(default_factory=dict)
    seconds: float = 300
    asked: int = 0
    told: list[OIDCCallbackContext] = field(default_factory=list)

    def fetch(self, context: OIDCCallbackContext) -> OIDCCallbackResult:
        self.asked += 1
        self.told.append(context)
        now = time.time()
        ends = {"exp": now + self.seconds}
        return OIDCCallbackResult(self.issuer.token(now, **ends | self.claims))


def by_token(callback: Callback, *, human: bool = False) -> dict[str, Any]:
    name = "OIDC_HUMAN_CALLBACK" if human else "OIDC_CALLBACK"
    return {
        "authMechanism": "MONGODB-OIDC",
        "authMechanismProperties": {name: callback},
        "serverSelectionTimeoutMS": 10_000,
        "maxPoolSize": 1,
    }


def bearer(place: Place, callback: Callback, **more: Any) -> Client:
    client: Client = MongoClient(place.proxy.host, place.proxy.port, **by_token(callback, **more))
    return client


def test_pymongo_with_sha_1(place: Place) -> None:
    made = place.create("--sha1")
    for mechanism in ("SCRAM-SHA-1", "SCRAM-SHA-256", ""):
        options = {"authMechanism": mechanism} if mechanism else {}
        client: Client
        with MongoClient(made["uri"], authSource="admin", **options) as client:
            client.shop.old.insert_one({})
            status = client.admin.command("usersInfo", made["name"])
        assert status["users"][0]["mechanisms"] == ["SCRAM-SHA-1", "SCRAM-SHA-256"]


def test_sha_1_where_it_is_not_allowed(place: Place) -> None:
    client: Client
    uri = place.proxy.uris["shop"]
    with (
        MongoClient(uri, authSource="admin", authMechanism="SCRAM-SHA-1") as client,
        pytest.raises(OperationFailure) as caught,
    ):
        client.shop.old.find_one()
    assert caught.value.code == 18


def test_plain_on_a_connection_that_others_read(place: Place) -> None:
    made = place.create("--plain")
    client: Client
    with (
        MongoClient(made["uri"], authSource="$external", authMechanism="PLAIN") as client,
        pytest.raises(OperationFailure) as caught,
    ):
        client.shop.tasks.find_one()
    assert caught.value.code == 18
    assert made["password"] not in place.proxy.program.log.read_text()


def test_mongosh_with_sha_1(place: Place, mongosh: Path) -> None:
    made = place.create("--sha1")
    uri = f"{made['uri']}?authMechanism=SCRAM-SHA-1&authSource=admin"
    shown = shell(mongosh, uri, "db.runCommand({connectionStatus: 1}).authInfo.authenticatedUsers")
    assert shown == [{"user": made["name"], "db": "shop"}]


def shell(mongosh: Path, uri: str, expression: str) -> Any:
    script = f"print(JSON.stringify({expression}))"
    done = subprocess.run(  # noqa: S603 - our own text
        [mongosh, uri, "--quiet", "--norc", "--eval", script],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


NODE = """
const {MongoClient} = require("mongodb");
const fs = require("fs");
const [uri, options, tokens, seconds] = JSON.parse(process.argv[1]);
let asked = 0;
if (tokens) {
  options.authMechanismProperties = {OIDC_CALLBACK: async () => {
    asked += 1;
    const reply = await fetch(tokens);
    return {accessToken: (await reply.json()).access_token};
  }};
}
(async () => {
  const usual = {maxPoolSize: 1, serverSelectionTimeoutMS: 10000};
  const client = new MongoClient(uri, {...usual, ...options});
  const out = {};
  try {
    const db = client.db("shop");
    const numbers = new Set();
    const end = Date.now() + 1000 * seconds;
    do {
      await db.collection("node").insertOne({});
      numbers.add((await db.command({hello: 1})).connectionId);
      await new Promise((done) => setTimeout(done, 200));
    } while (Date.now() < end);
    out.connections = numbers.size;
    out.users = (await db.command({connectionStatus: 1})).authInfo.authenticatedUsers;
  } catch (error) {
    out.code = error.code;
  }
  out.asked = asked;
  console.log(JSON.stringify(out));
  await client.close();
})();
"""


def node(uri: str, options: dict[str, Any], tokens: str = "", seconds: float = 0) -> dict[str, Any]:
    """Run Node's driver for some seconds."""
    if not (ROOT / "node_modules" / "mongodb").exists():
        pytest.skip("no Node driver: npm ci")
    done = subprocess.run(  # noqa: S603 - our own text
        ["node", "-e", NODE, json.dumps([uri, options, tokens, seconds])],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def test_node_with_sha_1(place: Place) -> None:
    made = place.create("--sha1")
    options = {"authMechanism": "SCRAM-SHA-1", "authSource": "admin"}
    found = node(made["uri"], options)
    assert found["users"] == [{"user": made["name"], "db": "shop"}]
    assert node(place.proxy.uris["shop"], options)["code"] == 18


def test_pymongo_by_token(place: Place) -> None:
    callback = Callback(place.issuer)
    with bearer(place, callback) as client:
        client.shop.by_token.insert_one({})
        info = client.admin.command("connectionStatus")["authInfo"]
        second = client.shop.by_token.count_documents({})
    assert info["authenticatedUsers"] == [{"user": f"{place.issuer.issuer}#ann", "db": "$external"}]
    assert (second, callback.asked) == (1, 1)
    assert place.proxy.behind.shop_by_token.distinct("app_id") == ["shop"]


def test_a_token_decides_app_and_role(place: Place) -> None:
    with bearer(place, Callback(place.issuer, {"app": "crm", "aud": ["readers"]})) as client:
        client.crm.tasks.find_one()
        with pytest.raises(OperationFailure) as caught:
            client.crm.tasks.insert_one({})
        assert caught.value.code == 13


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "other"},
        {"iss": "http://127.0.0.1:9"},
        {"exp": 1},
        {"nbf": 2**32},
        {"app": "nothing"},
        {"app": ["shop"]},
        {"sub": None},
        {"kid": "ec"},
        {"app": "x" * 40_000},
    ],
)
def test_tokens_that_open_nothing(place: Place, claims: dict[str, Any]) -> None:
    callback = Callback(place.issuer, claims)
    with bearer(place, callback) as client, pytest.raises(OperationFailure) as caught:
        client.shop.tasks.find_one()
    assert (caught.value.code, caught.value.details["errmsg"]) == (18, "Authentication failed.")
    log = place.proxy.program.log.read_text()
    assert "eyJ" not in log


def test_a_token_larger_than_what_strangers_may_send(place: Place) -> None:
    callback = Callback(place.issuer, {"app": "x" * 1_000_000})
    with bearer(place, callback) as client, pytest.raises(AutoReconnect):
        client.shop.tasks.find_one()


def test_pymongo_shows_another_token_by_itself(place: Place) -> None:
    callback = Callback(place.issuer, seconds=SHORT)
    with bearer(place, callback) as client:
        tasks = client.shop.reauthenticated
        tasks.insert_many([{"_id": n} for n in range(50)])
        cursor = tasks.find(batch_size=5)
        next(cursor)
        numbers = {client.admin.command("hello")["connectionId"]}
        with client.start_session() as session, session.start_transaction():
            tasks.insert_one({"_id": "first"}, session=session)
            time.sleep(SHORT + 0.5)
            tasks.insert_one({"_id": "second"}, session=session)
        assert callback.asked == 2
        time.sleep(SHORT + 0.5)
        assert len(list(cursor)) == 51
        time.sleep(SHORT + 0.5)
        numbers.add(client.admin.command("hello")["connectionId"])
        assert tasks.count_documents({}) == 52
    assert callback.asked == 4
    assert len(numbers) == 1, "it is the same connection all the time"


def test_a_person_is_told_where_to_get_a_token(place: Place) -> None:
    callback = Callback(place.issuer, seconds=SHORT)
    with bearer(place, callback, human=True) as client:
        client.shop.tasks.find_one()
        time.sleep(SHORT + 0.5)
        client.shop.tasks.find_one()
    assert callback.asked == 2
    told = callback.told[0].idp_info
    assert told is not None
    assert (told.issuer, told.clientId, told.requestScopes) == (
        place.issuer.issuer, "shell", ["openid"],
    )  # fmt: skip


async def _lives(client: Any) -> list[Any]:
    tasks = client.shop.asynchronous
    try:
        await tasks.insert_one({})
        await asyncio.sleep(SHORT + 0.5)
        found = await asyncio.gather(*(tasks.count_documents({}) for _ in range(5)))
        return list(found)
    finally:
        await tasks.drop()
        closed = client.close()
        if closed is not None:
            await closed


@pytest.mark.parametrize("kind", [AsyncMongoClient, AsyncIOMotorClient])
def test_asynchronous_clients_by_token(place: Place, kind: Any) -> None:
    async def main() -> tuple[list[Any], int]:
        callback = Callback(place.issuer, seconds=SHORT)
        client = kind(place.proxy.host, place.proxy.port, **by_token(callback))
        return await _lives(client), callback.asked

    assert asyncio.run(main()) == ([1] * 5, 2)


def test_node_by_token(place: Place) -> None:
    uri = f"mongodb://{place.proxy.address}/shop"
    options = {"authMechanism": "MONGODB-OIDC"}
    tokens = f"{place.issuer.issuer}/token?exp={SHORT}"
    found = node(uri, options, tokens, 2.5 * SHORT)
    user = {"user": f"{place.issuer.issuer}#ann", "db": "$external"}
    assert (found["users"], found["connections"]) == ([user], 1)
    assert found["asked"] >= 2
    wrong = node(uri, options, f"{place.issuer.issuer}/token?aud=%22x%22")
    assert wrong["code"] == 18


def test_old_credentials_outlive_their_rotation_for_a_while(place: Place) -> None:
    old = place.create("--name", "turning")
    command = ("mdb", "apps", "credentials", "rotate", "turning", "--grace", "4s", "--json")
    done = run(*command, "--proxy", place.proxy.address, **place.cluster)
    new = json.loads(done.stdout)
    assert new["name"] != "turning"
    old_client: Client
    new_client: Client
    with MongoClient(old["uri"]) as old_client, MongoClient(new["uri"]) as new_client:
        old_client.shop.tasks.find_one()
        place.wait()
        new_client.shop.tasks.find_one()
        time.sleep(4)
        with pytest.raises(OperationFailure) as caught:
            old_client.shop.tasks.find_one()
        new_client.shop.tasks.find_one()
    assert caught.value.code == 18
    listed = run("mdb", "apps", "credentials", "list", "shop", "--json", **place.cluster).stdout
    states = {row["name"]: row["state"] for row in json.loads(listed)}
    assert (states["turning"], states[new["name"]]) == ("expired", "active")


def test_what_is_no_credential_harms_nobody(place: Place) -> None:
    stored = place.proxy.behind["_mdb_engine_credentials"]
    stored.insert_one({"_id": "odd", "app": 5})
    try:
        made = place.create()
        client: Client
        with MongoClient(made["uri"]) as client:
            client.shop.tasks.find_one()
        done = run("mdb", "apps", "credentials", "list", **place.cluster)
        assert done.stderr == "warning: what is stored as 'odd' is no credential\n"
        log = place.proxy.program.log.read_text()
        assert log.count("credential.unreadable") == 1
    finally:
        stored.delete_one({"_id": "odd"})


def test_keys_that_the_issuer_changes(place: Place) -> None:
    """A new key is fetched when it is first seen, and what is known goes on while it is down."""
    place.issuer.down = True
    try:
        with bearer(place, Callback(place.issuer)) as client:
            client.shop.tasks.find_one()
    finally:
        place.issuer.down = False
    place.issuer.kids.append("new")
    place.proxy.program.process.send_signal(signal.SIGHUP)
    assert soon(lambda: opens(place, Callback(place.issuer, {"kid": "new"})), SECONDS)


def opens(place: Place, callback: Callback) -> bool:
    """Whether a token of this callback opens the shop."""
    with bearer(place, callback) as client:
        try:
            client.shop.tasks.find_one()
        except OperationFailure:
            return False
        return True
