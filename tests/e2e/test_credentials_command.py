"""`mdb apps credentials`, and what it does to a running proxy."""

import json
import time
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from tests.support.programs import create_credential, run
from tests.support.proxies import Proxy

APPLY_SECONDS = 10
AUTHENTICATION_FAILED = 18


def cluster(proxy: Proxy, uri: str) -> dict[str, str]:
    return {"MONGO_URI": uri, "MONGO_DB_NAME": proxy.db_name}


def ping(uri: str) -> bool:
    """Whether this URI opens its app."""
    client: MongoClient[dict[str, Any]]
    with MongoClient(uri, serverSelectionTimeoutMS=5_000) as client:
        try:
            client.get_default_database().tasks.find_one()
        except OperationFailure as error:
            if error.code != AUTHENTICATION_FAILED:
                raise
            return False
        return True


def within(seconds: float, uri: str, wanted: bool) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if ping(uri) is wanted:
            return True
        time.sleep(0.2)
    return False


def test_made_used_disabled_removed(proxy: Proxy, mongo_uri: str) -> None:
    where = cluster(proxy, mongo_uri)
    made = create_credential("shop", "--proxy", proxy.address, **where)
    assert set(made) == {"name", "password", "uri"}
    assert made["uri"].endswith(f"@{proxy.address}/shop")
    assert within(APPLY_SECONDS, made["uri"], True)
    listed = json.loads(run("mdb", "apps", "credentials", "list", "shop", "--json", **where).stdout)
    assert made["name"] in [row["name"] for row in listed]
    assert all("password" not in row for row in listed)
    shown = run("mdb", "apps", "credentials", "list", "shop", **where).stdout.splitlines()
    columns = ["name", "app", "role", "state", "expires", "mechanisms", "subject"]
    assert shown[0].split() == columns
    assert made["name"] in [line.split()[0] for line in shown]
    usual = ["shop", "readWrite", "active", "never", "SCRAM-SHA-256"]
    assert all(line.split()[1:] == usual for line in shown[1:3])
    for command, works in (("disable", False), ("enable", True), ("expire", True)):
        assert run("mdb", "apps", "credentials", command, made["name"], **where).returncode == 0
        assert within(APPLY_SECONDS, made["uri"], works)
    ends = ("mdb", "apps", "credentials", "expire", made["name"], "--in", "1s")
    assert run(*ends, **where).returncode == 0
    assert within(APPLY_SECONDS, made["uri"], False)
    assert run("mdb", "apps", "credentials", "remove", made["name"], **where).returncode == 0
    again = run("mdb", "apps", "credentials", "remove", made["name"], **where)
    assert (again.returncode, again.stderr) == (1, f"there is no credential {made['name']}\n")


@pytest.mark.parametrize("password", ["p@ss/w:rd", "with blank"])
def test_a_password_of_your_own(proxy: Proxy, mongo_uri: str, password: str) -> None:
    where = cluster(proxy, mongo_uri)
    command = ("mdb", "apps", "credentials", "create", "crm", "--password-stdin", "--json")
    done = run(*command, "--proxy", proxy.address, stdin=f"{password}\n", **where)
    made = json.loads(done.stdout)
    assert made["password"] == password
    assert within(APPLY_SECONDS, made["uri"], True)


def test_an_unknown_app_is_warned_about(proxy: Proxy, mongo_uri: str) -> None:
    where = cluster(proxy, mongo_uri)
    done = run("mdb", "apps", "credentials", "create", "later", "--json", **where)
    assert done.returncode == 0
    assert done.stderr.startswith("warning: ")
    assert json.loads(done.stdout)["name"] == "later"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--role", "owner"], "readWrite or read"),
        (["--name", "no blanks"], "a credential name holds"),
        (["--name", "shop"], "is taken"),
        (["--expires-in", "soon"], "'soon' is no time"),
        (["--x509-subject", "/CN=a"], "a certificate's subject is written like CN=app,O=Example"),
        (["--x509-subject", "CN=a", "--plain"], "has no password"),
    ],
)
def test_what_cannot_be(proxy: Proxy, mongo_uri: str, options: list[str], sentence: str) -> None:
    where = cluster(proxy, mongo_uri)
    done = run("mdb", "apps", "credentials", "create", "shop", *options, **where)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_certificate_instead_of_a_password(proxy: Proxy, mongo_uri: str) -> None:
    where = cluster(proxy, mongo_uri)
    options = ("--x509-subject", "cn=bot, O=Example", "--name", "bot", "--role", "read")
    made = create_credential("shop", "--proxy", proxy.address, *options, **where)
    assert set(made) == {"name", "uri"}
    assert made["uri"] == (
        f"mongodb://{proxy.address}/shop?tls=true&authMechanism=MONGODB-X509&authSource=%24external"
    )
    listed = json.loads(run("mdb", "apps", "credentials", "list", "shop", "--json", **where).stdout)
    (row,) = [row for row in listed if row["name"] == "bot"]
    assert (row["mechanisms"], row["subject"]) == ("MONGODB-X509", "CN=bot,O=Example")
    again = run("mdb", "apps", "credentials", "create", "crm", *options[:2], **where)
    assert (again.returncode, "subject is that of another" in again.stderr) == (2, True)
    for name, why in (("bot", "has no password"), ("nobody", "there is no credential nobody")):
        turned = run("mdb", "apps", "credentials", "rotate", name, **where)
        assert (turned.returncode, why in turned.stderr) == (2, True)


def test_health_asks_a_running_proxy(proxy: Proxy) -> None:
    assert run("mdb-proxy", "health", "--listen", proxy.address).returncode == 0
    nobody = run("mdb-proxy", "health", "--listen", "127.0.0.1:9")
    assert nobody.returncode == 4
