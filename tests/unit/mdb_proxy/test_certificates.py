"""TLS towards clients: which files do, who is let in, and what is known of them afterwards."""

import ssl
import warnings
from pathlib import Path

import pytest

from mdb_engine.exceptions import ConfigurationError
from mdb_proxy.certificates import client_subject, context_of, server_name
from mdb_proxy.listeners import Clients, Keys
from tests.support.certificates import Authority
from tests.support.handshakes import shake, trusting

CLIENT = "/O=tests/OU=a, b/CN=the client"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("certificates")
    authority = Authority(made).made()
    authority.issue("/O=tests/CN=server", "DNS:localhost")
    authority.issue(CLIENT)
    other = Authority(made, "strangers").made()
    other.issue("/O=tests/CN=stranger")
    other.issue("/O=tests/CN=another", "DNS:localhost")
    (made / "junk.pem").write_text("junk")
    return made


def keys(folder: Path, clients: Clients = "none") -> Keys:
    ca = None if clients == "none" else folder / "tests-ca.pem"
    return Keys(certificate=folder / "server.pem", client_ca=ca, client_certificates=clients)


@pytest.mark.parametrize(
    ("clients", "own", "subject"),
    [
        ("none", None, ""),
        ("none", "the-client.pem", ""),
        ("optional", None, ""),
        ("optional", "the-client.pem", "CN=the client,OU=a\\, b,O=tests"),
        ("required", "the-client.pem", "CN=the client,OU=a\\, b,O=tests"),
    ],
)
def test_who_comes(folder: Path, clients: Clients, own: str | None, subject: str) -> None:
    theirs = trusting(folder / "tests-ca.pem", folder / own if own else None)
    here, _ = shake(context_of(keys(folder, clients)), theirs, "db.example.com")
    assert (client_subject(here), server_name(here)) == (subject, "db.example.com")
    here, _ = shake(context_of(keys(folder, clients)), theirs)
    assert server_name(here) == ""


@pytest.mark.parametrize(
    ("clients", "own"), [("required", None), ("required", "stranger"), ("optional", "stranger")]
)
def test_who_does_not(folder: Path, clients: Clients, own: str | None) -> None:
    theirs = trusting(folder / "tests-ca.pem", folder / f"{own}.pem" if own else None)
    with pytest.raises(ssl.SSLError):
        shake(context_of(keys(folder, clients)), theirs)


def test_old_versions_are_not_spoken(folder: Path) -> None:
    theirs = trusting(folder / "tests-ca.pem")
    with warnings.catch_warnings(action="ignore"):
        theirs.minimum_version = ssl.TLSVersion.TLSv1
        theirs.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        shake(context_of(keys(folder)), theirs)
    theirs = trusting(folder / "tests-ca.pem")
    theirs.maximum_version = ssl.TLSVersion.TLSv1_2
    assert shake(context_of(keys(folder)), theirs)[0].version() == "TLSv1.2"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"certificate": "nowhere.pem"}, "certificate .*nowhere.pem: No such file"),
        ({"certificate": "junk.pem"}, "certificate .*junk.pem: "),
        ({"certificate": "server.crt"}, "certificate .*server.crt: "),
        ({"certificate": "server.crt", "key": "another.key"}, "key values mismatch"),
        ({"certificate": "secret.pem"}, "certificate .*secret.pem: "),
        ({"client_ca": "nowhere.pem"}, "client_ca .*nowhere.pem: No such file"),
        ({"client_ca": "junk.pem"}, "client_ca .*junk.pem: "),
    ],
)
def test_files_that_do_not_do(folder: Path, fields: dict[str, str], sentence: str) -> None:
    found = keys(folder).model_copy(update={name: folder / file for name, file in fields.items()})
    secret = (folder / "server.key").read_text().replace("PRIVATE", "ENCRYPTED PRIVATE")
    (folder / "secret.pem").write_text(secret)
    with pytest.raises(ConfigurationError, match=sentence):
        context_of(found)


def test_a_key_of_its_own(folder: Path) -> None:
    found = Keys(certificate=folder / "server.crt", key=folder / "server.key")
    assert context_of(found).minimum_version == ssl.TLSVersion.TLSv1_2
