"""One line, or one table, becomes a listener; or a sentence that says why not."""

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from mdb_engine.exceptions import ConfigurationError
from mdb_proxy.listeners import Keys, Listening, format_address, parse_address, read_listener

NONE = Keys()
USUAL = Keys(certificate=Path("c"), key=Path("k"))
CHECKING = USUAL.model_copy(update={"client_ca": Path("ca"), "client_certificates": "required"})
HERE = {"host": "127.0.0.1", "port": 1}


@pytest.mark.parametrize(
    ("line", "options", "becomes", "name"),
    [
        ("127.0.0.1:1", {}, Listening(**HERE), "127.0.0.1:1"),
        (":2", {}, Listening(host="0.0.0.0", port=2), "0.0.0.0:2"),  # noqa: S104
        ("tcp://[::1]:2", {}, Listening(host="::1", port=2), "[::1]:2"),
        ("tls://127.0.0.1:1", {}, Listening(**HERE, tls=True, keys=USUAL), "tls://127.0.0.1:1"),
        (
            "tls://127.0.0.1:1?certificate=own",
            {},
            Listening(**HERE, tls=True, keys=Keys(certificate=Path("own"))),
            "tls://127.0.0.1:1",
        ),
        ("unix:///tmp/a%20b", {}, Listening(path="/tmp/a b"), "unix:///tmp/a b"),  # noqa: S108
        ("unix://x?mode=0660", {}, Listening(path="x", mode=0o660), "unix://x"),
        (
            "127.0.0.1:1",
            {"presentation": "replicaset:rs", "max_connections": 7},
            Listening(**HERE, presentation="replicaset:rs", max_connections=7),
            "127.0.0.1:1",
        ),
        (
            "tcp://127.0.0.1:1?presentation=loadbalanced&proxy_protocol=true&trusted=10.0.0.0/8,::1",
            {},
            Listening(
                **HERE,
                presentation="loadbalanced",
                proxy_protocol=True,
                trusted=("10.0.0.0/8", "::1"),  # type: ignore[arg-type]
            ),
            "127.0.0.1:1",
        ),
    ],
)
def test_a_listener(line: str, options: dict[str, Any], becomes: Listening, name: str) -> None:
    found = read_listener(line, options, USUAL)
    usual = {} if becomes.tls else {"keys": USUAL}
    assert found == becomes.model_copy(update=usual)
    assert found.name == name
    assert Listening.model_validate_json(found.model_dump_json(exclude_unset=True)) == found


@pytest.mark.parametrize(
    ("line", "options", "usual", "sentence"),
    [
        ("x", {}, NONE, "'x' is not an address"),
        ("http://h:1", {}, NONE, "a listener is HOST:PORT or tcp://"),
        ("tls://h:1", {}, NONE, "TLS needs a certificate"),
        ("tls://h:1?client_ca=x", {}, USUAL, "go together"),
        ("tls://h:1?client_certificates=required", {}, USUAL, "go together"),
        ("tls://h:1?client_certificates=yes", {}, USUAL, "client_certificates: "),
        ("tcp://h:1?x=1", {}, NONE, "x: there is no such option"),
        ("tcp://h:1?path=1", {}, NONE, "path: there is no such option"),
        ("tcp://h:1?mode=0600", {"mode": "0600"}, NONE, "stands there twice"),
        ("tcp://h:1?mode=9", {}, NONE, "a mode is written as 0600"),
        ("tcp://h:1?presentation=replicaset", {}, NONE, "a presentation is mongos"),
        ("tcp://h:1?advertise=h:0", {}, NONE, "cannot be told port 0"),
        ("tcp://h:1?proxy_protocol=true", {}, NONE, "proxy_protocol needs the networks"),
        ("tcp://h:1?trusted=h", {}, NONE, "trusted: "),
        ("tcp://h:1?max_connections=0", {}, NONE, "max_connections: "),
        ("unix://" + 97 * "x", {}, NONE, "at most 96 bytes"),
        ("unix://", {}, NONE, "needs a host or a path"),
        ("unix://x?presentation=replicaset:r", {}, NONE, "needs an address: advertise="),
    ],
)
def test_what_is_no_listener(
    line: str, options: dict[str, Any], usual: Keys, sentence: str
) -> None:
    with pytest.raises(ConfigurationError) as error:
        read_listener(line, options, usual)
    assert sentence in str(error.value)
    assert line in str(error.value)


def test_files_are_named_in_groups() -> None:
    found = read_listener("tls://h:1?client_certificates=none", {}, CHECKING)
    assert (found.keys.certificate, found.keys.key) == (Path("c"), Path("k"))
    assert found.keys.client_certificates == "none"
    assert read_listener("tls://h:1", {}, CHECKING).keys == CHECKING


def test_what_it_says_of_itself() -> None:
    found = Listening(**HERE, presentation="replicaset:a:b", trusted=("10.0.0.0/8",))  # type: ignore[arg-type]
    assert (found.replica_set, found.balanced) == ("a:b", False)
    assert Listening(**HERE, presentation="loadbalanced").balanced
    assert found.trusts(ip_address("10.1.2.3"))
    assert not found.trusts(ip_address("11.1.2.3"))
    assert not found.trusts(ip_address("::1"))
    assert parse_address(format_address("::1", 5)) == ("::1", 5)
