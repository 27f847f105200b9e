"""The text that an app's client is configured with: its URI, and the lines to try it."""

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is shown for it
"""Addresses that mean every interface -> one of them."""


def reachable(host: str, port: int) -> str:
    """Give `HOST:PORT` as a client on this machine writes it."""
    shown = ANYWHERE.get(host, host)
    return f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"


def quoted(path: str) -> str:
    """Give the path of a Unix socket as a URI holds it."""
    return quote(path, safe="")


def app_uri(name: str, password: str, address: str, home: str) -> str:
    """Give `mongodb://NAME:PASSWORD@HOST:PORT/HOME`.

    >>> app_uri("shop", "p/w", "127.0.0.1:27018", "shop")
    'mongodb://shop:p%2Fw@127.0.0.1:27018/shop'
    """
    return f"mongodb://{quote(name, safe='')}:{quote(password, safe='')}@{address}/{home}"


def certificate_uri(address: str, home: str) -> str:
    """Give the URI of who shows a certificate; which one, the client adds.

    >>> certificate_uri("127.0.0.1:27018", "shop")
    'mongodb://127.0.0.1:27018/shop?tls=true&authMechanism=MONGODB-X509&authSource=%24external'
    """
    options = "tls=true&authMechanism=MONGODB-X509&authSource=%24external"
    return f"mongodb://{address}/{home}?{options}"


def lines_to_try(uri: str, python: str) -> Iterable[str]:
    """Give what to type next: the shell, then Python."""
    program = (
        "from pymongo import MongoClient; "
        f"db = MongoClient('{uri}').get_default_database(); "
        "db.tasks.insert_one({'title': 'hello'}); "
        "print(list(db.tasks.find()))"
    )
    return f'mongosh "{uri}"', f'{python} -c "{program}"'
