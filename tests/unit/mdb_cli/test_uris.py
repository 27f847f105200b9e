"""URIs as a client is given them."""

import pytest
from pymongo.uri_parser import parse_uri

from mdb_cli.uris import app_uri, lines_to_try, reachable


@pytest.mark.parametrize(
    ("host", "port", "shown"),
    [
        ("127.0.0.1", 27018, "127.0.0.1:27018"),
        ("0.0.0.0", 1, "127.0.0.1:1"),  # noqa: S104
        ("::", 1, "[::1]:1"),
        ("db.example.com", 27017, "db.example.com:27017"),
    ],
)
def test_reachable(host: str, port: int, shown: str) -> None:
    assert reachable(host, port) == shown


@pytest.mark.parametrize("password", ["plain", "p@ss/w:rd", "ä %?#", "a+b"])
def test_a_driver_reads_what_was_meant(password: str) -> None:
    parsed = parse_uri(app_uri("shop-2", password, "127.0.0.1:27018", "shop"))
    assert (parsed["username"], parsed["password"]) == ("shop-2", password)
    assert (parsed["nodelist"], parsed["database"]) == ([("127.0.0.1", 27018)], "shop")


def test_lines_to_try() -> None:
    uri = app_uri("shop", "p", "h:1", "shop")
    shell, python = lines_to_try(uri, ".venv/bin/python")
    assert shell == f'mongosh "{uri}"'
    assert python.startswith('.venv/bin/python -c "')
    compile(python.split('"')[1], "<line>", "exec")
