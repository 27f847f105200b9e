"""Settings: which source wins, and the sentence for what is not usable."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mdb_engine.exceptions import ConfigurationError
from mdb_proxy.auth import TokenRule
from mdb_proxy.bounds import Bounds
from mdb_proxy.config import (
    ProxySettings,
    Settings,
    cores,
    environment,
    format_address,
    load_settings,
    parse_address,
)
from mdb_proxy.doors import Entrances
from tests.support import config

TOML = 'mongo_uri = "mongodb://toml"\ndb_name = "toml"\nlisten = "toml:1"\n'


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Stand in an empty folder, where only this environment and these files exist."""
    monkeypatch.chdir(tmp_path)
    for name in config.ours():
        monkeypatch.delenv(name)

    def give(environment: dict[str, str], files: dict[str, str]) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for name, text in files.items():
            (tmp_path / name).write_text(text)

    return give


def uri_of(settings: Settings) -> str | None:
    return settings.mongo_uri and settings.mongo_uri.get_secret_value()


FLAGS = {"mongo_uri": "mongodb://flag", "db_name": "flag"}
ENVIRONMENT = {"MONGO_URI": "mongodb://env", "MONGO_DB_NAME": "env"}
OWN = {"MDB_PROXY_MONGO_URI": "mongodb://own", "MDB_PROXY_DB_NAME": "own"}


SECRET = {"MONGO_URI_FILE": "secret"}
DEFAULT = "127.0.0.1:27018"


@pytest.mark.parametrize(
    ("flags", "environment", "toml", "becomes"),
    [
        ({}, ENVIRONMENT, "", ("mongodb://env", "env", DEFAULT)),
        ({}, OWN | ENVIRONMENT, "", ("mongodb://own", "own", DEFAULT)),
        ({}, {}, TOML, ("mongodb://toml", "toml", "toml:1")),
        ({}, ENVIRONMENT, TOML, ("mongodb://env", "env", "toml:1")),
        ({}, {"MDB_PROXY_LISTEN": "env:2"}, TOML, ("mongodb://toml", "toml", "env:2")),
        (FLAGS, ENVIRONMENT | OWN, TOML, ("mongodb://flag", "flag", "toml:1")),
        ({}, SECRET, TOML, ("mongodb://file", "toml", "toml:1")),
        ({}, ENVIRONMENT | SECRET, "", ("mongodb://env", "env", DEFAULT)),
        (FLAGS, SECRET, "", ("mongodb://flag", "flag", DEFAULT)),
        ({}, ENVIRONMENT | {"MDB_PROXY_LISTEN": ""}, "", ("mongodb://env", "env", DEFAULT)),
    ],
)
def test_order(
    given: Callable[..., None],
    flags: dict[str, str],
    environment: dict[str, str],
    toml: str,
    becomes: tuple[str, str, str],
) -> None:
    given(environment, {"secret": "mongodb://file\n", "mdb-proxy.toml": toml})
    settings = load_settings(ProxySettings, flags)
    assert (uri_of(settings), settings.db_name, settings.listen) == becomes
    assert "mongodb://" not in repr(settings)


@pytest.mark.parametrize(
    ("flags", "environment", "sentence"),
    [
        ({}, {}, "no cluster is named"),
        ({"mongo_uri": "http://me:s3cret@h"}, {}, "mongo_uri: a URI begins with mongodb://"),
        ({"workers": "many"}, ENVIRONMENT, "workers: "),
        ({"workers": -1}, ENVIRONMENT, "workers: "),
        ({"listen": "x"}, ENVIRONMENT, "listen: 'x' is not an address"),
        ({"admin": "x:y"}, ENVIRONMENT, "admin: 'x:y' is not an address"),
        ({"log_level": "loud"}, ENVIRONMENT, "log_level: "),
        ({}, {"MONGO_URI_FILE": "absent"}, "MONGO_URI_FILE: absent: No such file"),
        ({}, ENVIRONMENT | {"MDB_PROXY_CONFIG": "absent"}, "there is no file absent"),
        ({}, ENVIRONMENT | {"MDB_PROXY_CONFIG": "bad.toml"}, "bad.toml: "),
        ({}, ENVIRONMENT | {"MDB_PROXY_CONFIG": "odd.toml"}, "surplus: there is no such setting"),
    ],
)
def test_what_is_not_usable(
    given: Callable[..., None],
    flags: dict[str, object],
    environment: dict[str, str],
    sentence: str,
) -> None:
    given(environment, {"bad.toml": "listen = 'x", "odd.toml": "surplus = 1"})
    with pytest.raises(ConfigurationError) as raised:
        load_settings(ProxySettings, flags)
    assert sentence in str(raised.value)
    assert "s3cret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_dev_needs_no_cluster(given: Callable[..., None]) -> None:
    given({}, {})
    assert load_settings(Settings, {"mongo_uri": None, "data": "d"}).mongo_uri is None


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:27018", ("127.0.0.1", 27018)),
        (":0", ("0.0.0.0", 0)),  # noqa: S104
        ("[::1]:1", ("::1", 1)),
        ("db.example.com:65535", ("db.example.com", 65_535)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address
    assert parse_address(format_address(*address)) == address


@pytest.mark.parametrize("text", ["", "h", "h:", "h:x", "h:65536", "::1:27018", "h:-1", "h:\u0661"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_address(text)


@pytest.mark.parametrize(
    ("flags", "environment", "toml", "processes"),
    [
        ({}, {}, "", 1),
        ({"workers": 3}, {}, "", 3),
        ({"workers": "3"}, {}, "", 3),
        ({}, {"MDB_PROXY_WORKERS": "2"}, "workers = 4", 2),
        ({}, {}, "workers = 4", 4),
        ({"workers": "auto"}, {}, "", cores()),
        ({}, {"MDB_PROXY_WORKERS": "auto"}, "", cores()),
        ({}, {}, 'workers = "auto"', cores()),
        ({"workers": 0}, {}, "", cores()),
    ],
)
def test_processes(
    given: Callable[..., None],
    flags: dict[str, str],
    environment: dict[str, str],
    toml: str,
    processes: int,
) -> None:
    given(ENVIRONMENT | environment, {"mdb-proxy.toml": toml})
    assert load_settings(ProxySettings, flags).processes == processes


def test_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cores() >= 1
    monkeypatch.delattr("os.sched_getaffinity")
    assert cores() == os.cpu_count()


def test_the_environment_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "1")
    found = environment(CHANGED="2")
    assert (found["KEPT"], found["CHANGED"]) == ("1", "2")
    assert "CHANGED" not in environment()


OIDC = """
mongo_uri = "mongodb://h"
sni_domain = "db.example.com"

[[oidc]]
issuer = "https://idp.example"
audience = "mdb"
claim = "app"

[[oidc]]
issuer = "https://people.example/"
audience = "shell"
claim = "app"
role_claim = "may"
jwks = "keys.json"
algorithms = ["EdDSA"]
client_id = "shell"
scopes = ["openid"]
"""


def test_the_ways_in(given: Callable[..., None]) -> None:
    given({}, {"mdb-proxy.toml": OIDC})
    settings = load_settings(ProxySettings, {})
    discovered = "https://idp.example/.well-known/openid-configuration"
    assert settings.entrances == Entrances(
        (
            TokenRule("https://idp.example", "mdb", discovered, ("RS256", "ES256"), claim="app"),
            TokenRule(
                "https://people.example/",
                "shell",
                "keys.json",
                ("EdDSA",),
                claim="app",
                role_claim="may",
                client="shell",
                scopes=("openid",),
            ),
        ),
        "db.example.com",
        False,
    )
    given({"MDB_PROXY_SNI_REQUIRED": "false", "MDB_PROXY_OIDC": "[]"}, {"mdb-proxy.toml": OIDC})
    assert load_settings(ProxySettings, {}).entrances == Entrances((), "db.example.com", True)
    given({"MDB_PROXY_SNI_DOMAIN": ""}, {"mdb-proxy.toml": 'mongo_uri = "mongodb://h"'})
    assert load_settings(ProxySettings, {}).entrances.domain == ""


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"issuer": "idp"}, "oidc.0: an issuer is an address"),
        ({"issuer": "https://idp#x"}, "oidc.0: an issuer is an address"),
        ({"issuer": "http://idp.example"}, "oidc.0: keys are fetched by https"),
        ({"jwks": "http://idp.example/keys"}, "oidc.0: keys are fetched by https"),
        ({"audience": ""}, "oidc.0.audience: "),
        ({"claim": ""}, "oidc.0.claim: "),
        ({"algorithms": ["HS256"]}, "oidc.0.algorithms.0: "),
        ({"algorithms": ["none"]}, "oidc.0.algorithms.0: "),
        ({"algorithms": []}, "oidc.0.algorithms: "),
        ({"role": "root"}, "oidc.0.role: "),
        ({"clientid": "x"}, "oidc.0.clientid: "),
    ],
)
def test_issuers_that_are_not_usable(
    given: Callable[..., None], entry: dict[str, object], sentence: str
) -> None:
    given({}, {})
    usual = {"issuer": "https://idp.example", "audience": "mdb", "claim": "app"}
    with pytest.raises(ConfigurationError) as raised:
        load_settings(ProxySettings, {**FLAGS, "oidc": [usual | entry]})
    assert str(raised.value).startswith(sentence)


@pytest.mark.parametrize("domain", [".", "a.", ".a", "a b", "*.example.com", "a..b"])
def test_domains_that_are_none(given: Callable[..., None], domain: str) -> None:
    given({}, {})
    with pytest.raises(ConfigurationError, match="sni_domain"):
        load_settings(ProxySettings, {**FLAGS, "sni_domain": domain})


TABLES = """
mongo_uri = "mongodb://h"
tls_certificate = "c"
[[listeners]]
listen = "tls://0.0.0.0:1"
presentation = "loadbalanced"
[[listeners]]
listen = "unix:///s"
"""


@pytest.mark.parametrize(
    ("flags", "environment", "names"),
    [
        ({}, {}, ["tls://0.0.0.0:1", "unix:///s"]),
        ({"listen": ["h:1", "h:2"]}, {}, ["h:1", "h:2", "tls://0.0.0.0:1", "unix:///s"]),
        ({}, {"MDB_PROXY_LISTEN": " h:1 h:2"}, ["h:1", "h:2", "tls://0.0.0.0:1", "unix:///s"]),
        ({"listeners": []}, {}, [DEFAULT]),
    ],
)
def test_listeners(
    given: Callable[..., None], flags: dict[str, object], environment: dict[str, str], names: object
) -> None:
    given(environment, {"mdb-proxy.toml": TABLES})
    settings = load_settings(ProxySettings, flags)
    assert [each.name for each in settings.listening] == names
    assert settings.listening[-2 if len(settings.listening) > 1 else 0].balanced == (
        names != [DEFAULT]
    )


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"listen": ""}, "listen: there is nowhere to listen"),
        ({"listen": "tls://h:1"}, "listen: 'tls://h:1': TLS needs a certificate"),
        ({"listeners": [{"presentation": "mongos"}]}, "listen: '' is not an address"),
        ({"listeners": [{"listen": "h:1", "x": 1}]}, "listen: 'h:1': x: there is no such option"),
        ({"max_connections": 0}, "max_connections: "),
    ],
)
def test_listeners_that_are_none(
    given: Callable[..., None], flags: dict[str, object], sentence: str
) -> None:
    given(ENVIRONMENT, {})
    with pytest.raises(ConfigurationError, match=sentence):
        load_settings(ProxySettings, flags)


def test_bounds(given: Callable[..., None]) -> None:
    given({**ENVIRONMENT, "MDB_PROXY_LOGIN_SECONDS": "3"}, {})
    settings = load_settings(ProxySettings, {"max_connections": 7})
    assert settings.bounds == Bounds(max_connections=7, login_seconds=3)
