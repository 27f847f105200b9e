"""Reads the case rows of `tests/cases`: what a command becomes, in MongoDB's extended JSON.

A file holds `given` (fields of every command), `always` (fields of what every command becomes)
and `rows`. A row holds `it`, `command`, maybe `scope`, and one of

- `becomes`: the fields that differ from `always`; those in `without` are not there at all;
- `refused`: `{code, at}` of the error.

Beside `becomes`: `errors` (`[[index, code], ...]` of refused statements), `plan`, `caps`. `opened`
is a cursor that the client has opened before; `sent` are fields that leave the proxy otherwise
than the kernel gave them. `through: "kernel"`: the proxy's own rules come before the kernel's.
"""

import json
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from bson import decode
from bson.code import Code
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.timestamp import Timestamp

from mdb_engine.rawbson import Document, Raw, element, encode, splice_end
from mdb_engine.scope.model import Features, Limits, Role, Scope, VectorIndex, Where
from mdb_engine.scope.search_definitions import vector_index
from tests.support.kernel import SHOP

FOLDER = Path(__file__).parents[1] / "cases"
EMPTY = b"\5\0\0\0\0"

Json = Any


def _date(value: Json) -> datetime:
    return datetime.fromisoformat(value).astimezone(UTC)


def _code(value: Json, scope: Json = None) -> Code:
    return Code(value, None if scope is None else plain(scope))


def _binary(value: Json) -> Raw:
    data = b64decode(value["base64"])
    kind = int(value["subType"], 16)
    return Raw(0x05, len(data).to_bytes(4, "little") + bytes([kind]) + data)


def _regex(value: Json) -> Raw:
    return Raw(0x0B, f"{value['pattern']}\0{value['options']}\0".encode())


def _elements(value: Json) -> Document:
    """Pairs, so that a name can come twice."""
    return Document(splice_end(EMPTY, b"".join(element(k.encode(), plain(v)) for k, v in value)))


def _copies(value: Json) -> Json:
    """`[what, how often]`: a long text or a long list."""
    what, count = value
    return what * count if isinstance(what, str) else [plain(what)] * count


def _nested(value: Json) -> Json:
    """`[name, depth]`: documents in one another, a 1 in the innermost."""
    name, depth = value
    inner: Json = 1
    for _ in range(depth):
        inner = Document(encode({name: inner}))
    return inner


WRAPPERS: Mapping[tuple[str, ...], Callable[..., Any]] = {
    ("$binary",): _binary,
    ("$code",): _code,
    ("$code", "$scope"): _code,
    ("$copies",): _copies,
    ("$date",): _date,
    ("$elements",): _elements,
    ("$maxKey",): lambda _: MaxKey(),
    ("$minKey",): lambda _: MinKey(),
    ("$nested",): _nested,
    ("$numberDecimal",): Decimal128,
    ("$numberDouble",): float,
    ("$numberLong",): lambda text: Int64(int(text)),
    ("$oid",): ObjectId,
    ("$regularExpression",): _regex,
    ("$timestamp",): lambda v: Timestamp(v["t"], v["i"]),
    ("$undefined",): lambda _: Raw(0x06, b""),
}
"""Documents of exactly these names are values; `$regex`, an operator, is none of them.

`$copies`, `$elements` and `$nested` are ours: what JSON would say at length, or not at all.
"""


def plain(value: Json) -> Any:
    """The value that a piece of extended JSON stands for."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    wrapper = WRAPPERS.get(tuple(value))
    if wrapper is not None:
        return wrapper(*value.values())
    return {name: plain(item) for name, item in value.items()}


class Refused(NamedTuple):
    """An error as its client sees it."""

    code: int
    at: str


@dataclass(frozen=True, slots=True)
class Case:
    """One row; `command` and `becomes` as mappings of plain values."""

    file: str
    it: str
    scope: Scope
    command: dict[str, Any]
    becomes: dict[str, Any] | None = None
    refused: Refused | None = None
    errors: list[tuple[int, int]] = field(default_factory=list)
    plan: str = ""
    caps: list[str] | None = None
    opened: dict[str, Any] | None = None
    sent: dict[str, Any] = field(default_factory=dict)
    through: str = "proxy"

    @property
    def id(self) -> str:
        """Give the name that pytest shows."""
        return f"{self.file}: {self.it}"

    @property
    def document(self) -> Document:
        """Give the command as the kernel gets it: bytes below the top level."""
        return Document(encode(self.command))


ROW = {"it", "command", "scope", "becomes", "refused", "without"}
ROW |= {"errors", "plan", "caps", "opened", "sent", "through"}


def _vector(given: Json) -> tuple[tuple[str, str], VectorIndex]:
    """`{collection, name, fields}`: an index as the scope knows it; `managed` by the manifest."""
    definition = Document(encode({"fields": plain(given["fields"])}))
    more = {"id_": given.get("id", ""), "managed": given.get("managed", False)}
    index = vector_index(definition, Where("", ""), **more)
    return (given["collection"], given["name"]), index


def scope_of(given: Json) -> Scope:
    """SHOP, changed."""
    changes: dict[str, Any] = dict(given)
    if "limits" in changes:
        changes["limits"] = Limits(**changes["limits"])
    if "role" in changes:
        changes["role"] = Role(changes["role"])
    if "features" in changes:
        version = tuple(changes["features"].get("version", (6, 0)))
        changes["features"] = Features(**changes["features"] | {"version": version})
    if "since" in changes:
        changes["since"] = plain(changes["since"])
    if "vectors" in changes:
        changes["vectors"] = dict(map(_vector, changes["vectors"]))
    if "views" in changes:
        changes["views"] = {view: tuple(named) for view, named in changes["views"].items()}
    names = ("home", "readable", "longer")
    return replace(SHOP, **changes | {n: tuple(changes[n]) for n in names if n in changes})


def _case(name: str, given: Json, always: Json, row: Json) -> Case:
    assert set(row) <= ROW, f"{name}: {row['it']}: {set(row) - ROW}"
    command = plain(
        {**row["command"], **{k: v for k, v in given.items() if k not in row["command"]}}
    )
    becomes = None
    if "becomes" in row:
        assert "refused" not in row, row["it"]
        whole = {**row["becomes"], **{k: v for k, v in always.items() if k not in row["becomes"]}}
        becomes = plain({k: v for k, v in whole.items() if k not in row.get("without", ())})
    refused = row.get("refused")
    return Case(
        file=name,
        it=row["it"],
        scope=scope_of(row.get("scope", {})),
        command=command,
        becomes=becomes,
        refused=None if refused is None else Refused(refused["code"], refused["at"]),
        errors=[(index, code) for index, code in row.get("errors", ())],
        plan=row.get("plan", ""),
        caps=row.get("caps"),
        opened=plain(row.get("opened")),
        sent=plain(row.get("sent", {})),
        through=row.get("through", "proxy"),
    )


def _rows() -> Iterator[Case]:
    for path in sorted(FOLDER.glob("*.json")):
        content = json.loads(path.read_text("utf-8"))
        for row in content["rows"]:
            yield _case(path.stem, content.get("given", {}), content.get("always", {}), row)


@cache
def cases() -> tuple[Case, ...]:
    """Give every row of every file."""
    return tuple(_rows())


def readable(command: Mapping[str, Any]) -> dict[str, Any]:
    """Give a command as Python values, for a message that a person reads."""
    return decode(encode(command))


def exact(command: Mapping[str, Any]) -> dict[str, bytes]:
    """Give the bytes of each field; their order does not matter to a server, save the first's."""
    return {name: encode({"": value}) for name, value in command.items()}


def names_in(value: Any) -> Iterator[str]:
    """Give every name at any depth of a value."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield name
            yield from names_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from names_in(item)
