"""Whatever is asked: shortcuts equal the rules, the question stays whole, the answer is scoped."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from bson import decode
from hypothesis import given, settings
from hypothesis import strategies as st

from mdb_engine import scope as kernel
from mdb_engine.exceptions import InvalidBSONError, RefusedError
from mdb_engine.rawbson import Array, Document, element, encode, encode_array, walk
from mdb_engine.scope.commands import rewrite
from mdb_engine.scope.model import Physical, Rule, Scope
from mdb_engine.scope.names import owner
from tests.support.cases import cases
from tests.support.commands import AGGREGATES, COMMANDS
from tests.support.documents import STORED
from tests.support.kernel import SHOP, where

LEDGER = ("crm", "shared", "shop", "shop_eu")
READER = replace(SHOP, readable=("shared",))
SHOWN = replace(SHOP, expose_app_id=True)
CRM = Scope("crm", "appdata", ("crm",), readable=("shop",), longer=("shop_eu",))
SCOPES = st.sampled_from([SHOP, READER, SHOWN, CRM])
EXAMPLES = settings(max_examples=500)


def rules_in(value: Any, seen: set[int]) -> Iterator[Rule]:
    """Every rule that a table or constant of the kernel leads to."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Rule):
        yield value
    elif isinstance(value, Mapping) and not isinstance(value, Document):
        for item in value.values():
            yield from rules_in(item, seen)
    elif is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            yield from rules_in(getattr(value, part.name), seen)


def rules() -> list[Rule]:
    found = []
    seen: set[int] = set()
    for module in pkgutil.iter_modules(kernel.__path__, f"{kernel.__name__}."):
        for value in vars(importlib.import_module(module.name)).values():
            found += rules_in(value, seen)
    return found


SHORTCUTS = [rule for rule in rules() if rule.raw is not None]


def test_the_walk_finds_the_rules() -> None:
    assert len(rules()) > 20
    assert SHORTCUTS


@pytest.mark.parametrize("rule", SHORTCUTS)
@EXAMPLES
@given(data=STORED, scope=SCOPES)
def test_a_shortcut_equals_its_rule(rule: Rule, data: bytes, scope: Scope) -> None:
    assert rule.raw is not None
    place = where("documents", "0", command="insert")
    quick = rule.raw(data, scope)
    assert quick is None or quick == encode(rule.decoded(Document(data), scope, place))


@pytest.mark.parametrize("rule", SHORTCUTS)
@EXAMPLES
@given(data=STORED, scope=SCOPES)
def test_what_a_rule_makes_of_a_document_stays_as_it_is(
    rule: Rule, data: bytes, scope: Scope
) -> None:
    place = where("documents", "0", command="insert")
    once = encode(rule.decoded(Document(data), scope, place))
    assert encode(rule.decoded(Document(once), scope, place)) == once
    tags = [item for item in walk(once) if item.name == b"app_id"]
    assert [once[item.begin : item.stop] for item in tags] == [element(b"app_id", scope.slug)]
    others = [(item.kind, item.name) for item in walk(data) if item.name != b"app_id"]
    assert [(i.kind, i.name) for i in walk(once) if i.name != b"app_id"] == others


@pytest.mark.parametrize("rule", SHORTCUTS)
@given(junk=st.binary(max_size=40), scope=SCOPES)
def test_a_rule_stores_no_junk(rule: Rule, junk: bytes, scope: Scope) -> None:
    with suppress(InvalidBSONError):
        rule.decoded(Document(junk), scope, where("documents", "0", command="insert"))
    assert rule.raw is not None
    with suppress(InvalidBSONError):
        rule.raw(junk, scope)


def rebuilt(value: Any) -> Any:
    """The value as its parsed form says it is; a change to that form shows here."""
    if isinstance(value, Document):
        with suppress(RefusedError):
            return Document(encode({name: rebuilt(item) for name, item in value.items()}))
        return value
    if isinstance(value, Array):
        return Array(encode_array([rebuilt(item) for item in value]))
    return value


def rewritten(command: dict[str, Any], scope: Scope) -> Physical | None:
    """The physical command, or None when it is refused; the logical one is left alone."""
    before = encode(command)
    logical = Document(before)
    try:
        return rewrite(logical, scope)
    except RefusedError:
        return None
    finally:
        assert encode({name: rebuilt(item) for name, item in logical.items()}) == before
        assert logical.data == before


@EXAMPLES
@given(COMMANDS, SCOPES)
def test_rewriting_leaves_the_question_alone(command: dict[str, Any], scope: Scope) -> None:
    rewritten(command, scope)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_rewriting_leaves_the_known_questions_alone(case: Any) -> None:
    before = encode(case.command)
    logical = Document(before)
    with suppress(RefusedError):
        rewrite(logical, case.scope)
    assert encode({name: rebuilt(item) for name, item in logical.items()}) == encode(
        {name: rebuilt(item) for name, item in Document(before).items()}
    )


@EXAMPLES
@given(COMMANDS, SCOPES)
def test_rewriting_is_the_same_each_time(command: dict[str, Any], scope: Scope) -> None:
    """A retried batch must leave out the same statements."""
    first, second = rewritten(command, scope), rewritten(command, scope)
    if first is None or second is None:
        assert first is second
        return
    assert encode(first.command) == encode(second.command)
    assert (first.kept, first.refused, first.names) == (second.kept, second.refused, second.names)


class Looker:
    """Reads a physical command with nothing of the kernel but `owner`."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def own(self, name: Any) -> None:
        assert isinstance(name, str)
        assert owner(name, LEDGER) == self.scope.slug, name
        assert not name.removeprefix(f"{self.scope.slug}_").startswith(("system.", "_mdb_engine"))

    def readable(self, name: Any) -> None:
        if owner(name, LEDGER) not in self.scope.readable:
            self.own(name)

    def guarded(self, condition: Any, *, write: bool, collation: Any = None) -> None:
        """The tenant's condition stands alone, or first among several that all must hold."""
        slugs = [self.scope.slug, *self.scope.readable]
        plain = {"app_id": slugs[0] if write or len(slugs) == 1 else {"$in": slugs}}
        parts = condition.get("$and", [condition])
        assert list(condition) in (["app_id"], ["$and"]), condition
        assert parts[0] == plain, condition
        if collation is not None and collation["locale"] != "simple":
            assert "\\z" in str(parts[1]), condition

    def pipeline(self, stages: list[Any], collation: Any, *, source: bool) -> None:
        if source:
            self.head(stages, collation)
        for index, stage in enumerate(stages):
            ((name, operand),) = stage.items()
            rule = getattr(self, name.removeprefix("$"), None)
            if rule is not None and name in NESTING:
                rule(operand, stages[index + 1 :], collation)
            if name in ("$out", "$merge"):
                self.writer(operand if name == "$out" else operand["into"])
                assert index == len(stages) - 1
                assert stages[index - 1] == {"$set": {"app_id": {"$literal": self.scope.slug}}}

    def head(self, stages: list[Any], collation: Any) -> None:
        name, operand = next(iter(stages[0].items()))
        if name == "$geoNear":
            self.guarded(operand["query"], write=False, collation=collation)
        elif name == "$sample":
            self.guarded(stages[1]["$match"], write=False, collation=collation)
        elif name not in ("$collStats", "$indexStats"):
            self.guarded(operand, write=False, collation=collation)

    def lookup(self, spec: Any, following: list[Any], collation: Any) -> None:
        if "from" not in spec:
            assert "$documents" in spec["pipeline"][0]
            self.pipeline(spec["pipeline"], collation, source=False)
            return
        self.readable(spec["from"])
        if "pipeline" in spec:
            self.pipeline(spec["pipeline"], collation, source=True)
        else:
            assert "$$this.app_id" in str(following[0]["$set"][spec["as"]])

    def graphLookup(self, spec: Any, _following: list[Any], collation: Any) -> None:  # noqa: N802 - the stage's name
        self.readable(spec["from"])
        self.guarded(spec["restrictSearchWithMatch"], write=False, collation=collation)

    def unionWith(self, spec: Any, _following: list[Any], collation: Any) -> None:  # noqa: N802 - the stage's name
        if "coll" in spec:
            self.readable(spec["coll"])
        else:
            assert "$documents" in spec["pipeline"][0]
        self.pipeline(spec["pipeline"], collation, source="coll" in spec)

    def facet(self, spec: Any, _following: list[Any], collation: Any) -> None:
        for stages in spec.values():
            self.pipeline(stages, collation, source=False)

    def writer(self, into: Any) -> None:
        assert into["db"] == self.scope.database
        self.own(into["coll"])

    def updated(self, update: Any, *, upsert: bool) -> None:
        tag = {"app_id": self.scope.slug}
        if isinstance(update, list):
            assert update[-1] == {"$set": {"app_id": {"$literal": self.scope.slug}}}
        elif any(name.startswith("$") for name in update):
            touched = [path for paths in update.values() for path in paths if "app_id" in path[:6]]
            assert all(
                update[op].get("app_id", self.scope.slug) == self.scope.slug for op in update
            )
            assert set(touched) <= {"app_id"}
            if upsert:
                assert "app_id" in {**update.get("$set", {}), **update.get("$setOnInsert", {})}
        else:
            assert tag.items() <= update.items()

    def command(self, command: dict[str, Any]) -> None:
        assert command["$db"] == self.scope.database
        name, value = next(iter(command.items()))
        if name == "explain":
            self.command({**value, "$db": command["$db"]})
            return
        reads = name in ("find", "count", "distinct", "listIndexes", "aggregate")
        if value != 1 or name != "aggregate":
            (self.readable if reads else self.own)(value)
        rule = getattr(self, f"_{name}", None)
        if rule is not None:
            rule(command)

    def _find(self, command: Any) -> None:
        self.guarded(command["filter"], write=False, collation=command.get("collation"))

    def _count(self, command: Any) -> None:
        self.guarded(command["query"], write=False, collation=command.get("collation"))

    _distinct = _count

    def _aggregate(self, command: Any) -> None:
        source = isinstance(command["aggregate"], str)
        self.pipeline(command["pipeline"], command.get("collation"), source=source)
        assert source or "$documents" in command["pipeline"][0]

    def _insert(self, command: Any) -> None:
        assert all(d["app_id"] == self.scope.slug for d in command["documents"])

    def _update(self, command: Any) -> None:
        for statement in command["updates"]:
            self.guarded(statement["q"], write=True, collation=statement.get("collation"))
            self.updated(statement["u"], upsert=statement.get("upsert", False))

    def _delete(self, command: Any) -> None:
        for statement in command["deletes"]:
            self.guarded(statement["q"], write=True, collation=statement.get("collation"))

    def _findAndModify(self, command: Any) -> None:  # noqa: N802 - the command's name
        self.guarded(command["query"], write=True, collation=command.get("collation"))
        if "update" in command:
            self.updated(command["update"], upsert=command.get("upsert", False))


NESTING = ("$lookup", "$graphLookup", "$unionWith", "$facet")


@settings(max_examples=2000)
@given(COMMANDS | AGGREGATES, SCOPES)
def test_no_physical_command_reaches_another_app(command: dict[str, Any], scope: Scope) -> None:
    physical = rewritten(command, scope)
    if physical is not None:
        Looker(scope).command(decode(encode(physical.command)))
        for name in physical.names:
            Looker(scope).readable(name)
