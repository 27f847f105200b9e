"""Reads the rows of `tests/matrix`: who says what, what comes back, what lies there afterwards.

A file holds `rows`. A row holds `number`, `it`, and either the members of one step or `steps`:

- who: `as` (a credential: `shop`, `shop.read`, ...; `nobody`: not logged in; `operator`: on the
  physical database itself), `line` (another connection), `db`, `times`, `wait` (seconds before);
- what: `do` (a command), maybe with `sections` (`[[name, documents], ...]`) and `flags`; or `wire`
  (`[opcode, pieces]`); or `drain` (a change stream's cursor, of the collection `from`; one that
  does not wait for more when `waits` is false);
- outcome: `code` (0 when absent), `says` (part of the error's text), `errors` (`[[index, code]]`),
  `n`, `count` (documents of the batch), `ids` (theirs), `reply` (values by path), `absent` (paths),
  `closed`, `silent`; `keep` (values by path, for `$kept`).

Beside the steps: `given` (commands on the physical database before), `writes` (slugs whose data
may change; true: the caller's), `after` (facts of the physical database), `shows` (words that
replies may hold), `through` (otherwise than over the wire).

Values are extended JSON as in `tests/support/cases.py`, and besides `$kept` (a value kept before),
`$session` (a session id by label), `$physical` (a full physical name, "" the database),
`$uuid` (of a physical collection), `$began` (the cluster's time before there were apps).
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.cases import plain

FOLDER = Path(__file__).parents[1] / "matrix"
HOME = "app"
CALLER = "shop"
Json = Any

STEP = {"as", "line", "db", "times", "wait", "do", "sections", "flags", "wire", "drain", "from"}
STEP |= {"code", "says", "errors", "n", "count", "ids", "reply", "absent", "closed", "silent"}
STEP |= {"keep", "waits", "lsid"}
ROW = {"number", "it", "steps", "given", "writes", "after", "shows", "through"}
OTHER = {"manifests", "slugs", "tests", "told", "version"}
"""What rows hold that are not run over the wire."""


@dataclass(frozen=True, slots=True)
class Step:
    """One message, and what is expected of its answer."""

    given: Mapping[str, Json]

    @property
    def caller(self) -> str:
        return str(self.given.get("as", CALLER))

    @property
    def line(self) -> str:
        return str(self.given.get("line", ""))

    @property
    def db(self) -> str | None:
        """Give the logical database; None: the message names none."""
        return self.given.get("db", HOME)

    @property
    def times(self) -> int:
        return int(self.given.get("times", 1))

    def get(self, name: str, default: Json = None) -> Json:
        return self.given.get(name, default)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the matrix."""

    file: str
    number: int
    it: str
    steps: tuple[Step, ...]
    given: Json = ()
    writes: frozenset[str] = frozenset()
    after: Json = ()
    shows: tuple[str, ...] = ()
    through: str = "wire"
    more: Mapping[str, Json] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.number}: {self.it}"

    @property
    def plain_command(self) -> Json | None:
        """Give the command of a row that is nothing but one command of the usual caller."""
        if self.through != "wire" or len(self.steps) != 1:
            return None
        step = self.steps[0]
        bare = not step.given.keys() & {"as", "wire", "drain", "sections", "flags", "line"}
        command = step.get("do")
        return command if bare and command and not any(n.startswith("$") for n in command) else None


def _writers(value: Json, steps: tuple[Step, ...]) -> frozenset[str]:
    if value is True:
        return frozenset({steps[0].caller.partition(".")[0]})
    return frozenset(value or ())


def _row(file: str, row: Json) -> Row:
    more = {name: value for name, value in row.items() if name in OTHER}
    assert row.keys() <= STEP | ROW | OTHER, (file, row["number"], row.keys() - STEP - ROW - OTHER)
    own = {name: value for name, value in row.items() if name in STEP}
    assert not (own and "steps" in row), (file, row["number"])
    steps = tuple(Step(step) for step in row.get("steps", [own]))
    for step in steps:
        assert step.given.keys() <= STEP, (file, row["number"], step.given.keys() - STEP)
    return Row(
        file=file,
        number=row["number"],
        it=row["it"],
        steps=steps,
        given=row.get("given", ()),
        writes=_writers(row.get("writes"), steps),
        after=row.get("after", ()),
        shows=tuple(row.get("shows", ())),
        through=row.get("through", "wire"),
        more=more,
    )


def _rows() -> Iterator[Row]:
    for path in sorted(FOLDER.glob("*.json")):
        for row in json.loads(path.read_text("utf-8"))["rows"]:
            yield _row(path.stem, row)


@cache
def rows() -> tuple[Row, ...]:
    """Give every row of every file, by number."""
    return tuple(sorted(_rows(), key=lambda row: row.number))


Fill = Callable[[str], Any]


def filled(value: Json, fills: Mapping[str, Fill]) -> Any:
    """Give the value that a piece of extended JSON stands for, with what only the run knows."""
    return plain(_filled(value, fills))


def _filled(value: Json, fills: Mapping[str, Fill]) -> Json:
    if isinstance(value, list):
        return [_filled(item, fills) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((name, inner),) = value.items()
        if name in fills:
            return fills[name](inner)
    return {name: _filled(item, fills) for name, item in value.items()}


def at(value: Any, path: str) -> Any:
    """Give what stands at a path; a KeyError or IndexError when there is nothing."""
    for step in filter(None, path.split("/")):
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def is_there(value: Any, path: str) -> bool:
    """Whether something stands at a path."""
    try:
        at(value, path)
    except (KeyError, IndexError, TypeError, ValueError):
        return False
    return True


OTHERS = ("crm", "shop_eu", "shared", "warden", "caged", "lens")
ELSEWHERE = "elsewhere"
TRANSACTION = {
    "lsid": {"$session": "variant"},
    "txnNumber": {"$numberLong": "1"},
    "autocommit": False,
}


def variants(row: Row) -> Iterator[Row]:
    """Give a row as it could also be said: what must not happen then is the same."""
    if {step.caller for step in row.steps} <= {CALLER}:
        for caller in OTHERS:
            yield _changed(row, f"as {caller}", {caller}, {"as": caller})
        yield _changed(row, "as a reader", set(), {"as": f"{CALLER}.read"})
        if all(step.db == HOME for step in row.steps):
            yield _changed(row, "elsewhere", {CALLER}, {"db": ELSEWHERE})
    command = row.plain_command
    if command is not None and not command.keys() & {"lsid", "explain"}:
        (step,) = row.steps
        begun = Step({**step.given, "do": {**command, **TRANSACTION, "startTransaction": True}})
        version = {name: command[name] for name in command if name.startswith("api")}
        end = Step({"db": "admin", "do": {"abortTransaction": 1, **TRANSACTION, **version}})
        yield replace(row, it=f"{row.it}, in a transaction", steps=(begun, end), writes=frozenset())
        told = Step({**step.given, "do": {"explain": command, "verbosity": "executionStats"}})
        yield replace(row, it=f"{row.it}, explained", steps=(told,), writes=frozenset())


def _changed(row: Row, how: str, writes: Collection[str], more: Mapping[str, Json]) -> Row:
    steps = tuple(Step({**step.given, **more}) for step in row.steps)
    return replace(row, it=f"{row.it}, {how}", steps=steps, writes=frozenset(writes))
