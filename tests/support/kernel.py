"""Small things for tests of the kernel: plain values become views of bytes, and back."""

from typing import Any

from bson import decode

from mdb_engine.rawbson import Document, encode
from mdb_engine.scope.model import Scope, Where

SHOP = Scope("shop", "appdata", ("app",), longer=("shop_eu",))
WHERE = Where("find", "app", path=("filter",))


def lazy(value: Any) -> Any:
    """Give a plain value as the kernel gets it from the wire."""
    return Document(encode({"": value}))[""]


def shown(value: Any) -> Any:
    """Give a value of the kernel as Python's, to read and compare."""
    return decode(encode({"": value}))[""]


def where(*path: str, command: str = "find", db: str = "app", **owner: Any) -> Where:
    """Give a place in a command; `owner` are the sibling fields."""
    return Where(command, db, Document(encode(owner)), path)
