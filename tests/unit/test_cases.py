"""Every row of `tests/cases`, run through the kernel and through the proxy's conversation."""

import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any

import pytest

from mdb_engine import scope
from mdb_engine.exceptions import RefusedError
from mdb_engine.rawbson import Document, encode
from mdb_engine.scope import denied
from mdb_engine.scope.commands import ALIASES, COMMANDS, EXPLAINED, rewrite
from mdb_engine.scope.model import Physical
from mdb_engine.scope.stages import DENIED_STAGES, STAGES
from mdb_engine.scope.updates import UPDATE_OPERATORS
from mdb_proxy.cursors import Cursor
from mdb_proxy.decisions import Decision, Exchange, Forward, Reply, Run
from mdb_proxy.wire.frames import Frame
from mdb_proxy.wire.messages import Message, encode_message
from tests.support.cases import Case, Refused, cases, exact, names_in, readable
from tests.support.talks import MEMBER, Talk, World, heard, one_frame

OF_REPLIES = {
    "IndexAlreadyExistsError",
    "IndexNotFoundError",
    "NamespaceNotFoundError",
    "OperationFailedError",
}
"""Refusals that the kernel knows when the cluster has answered."""

OF_HOLDINGS = {"OutOfDiskSpaceError", "OverloadedError"}
"""Refusals by what an app has stored, which no command tells (`scope/test_holdings.py`)."""

REWRITTEN = [case for case in cases() if case.becomes is not None]
REFUSED = [case for case in cases() if case.refused is not None]
UNAUTHORIZED = [case for case in REFUSED if case.refused.code == 13]


def case_id(case: Case) -> str:
    return case.id


def same(actual: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Compare twice: for the reader of a failure, and to the byte."""
    assert readable(actual) == readable(expected)
    assert exact(actual) == exact(expected)
    assert next(iter(actual)) == next(iter(expected))


@pytest.mark.parametrize("case", REWRITTEN, ids=case_id)
def test_the_kernel_makes_of_a_command(case: Case) -> None:
    given = case.document
    before = bytes(given.data)
    physical = rewrite(given, case.scope)
    assert case.becomes is not None
    same(physical.command, case.becomes)
    assert [(error.index, error.code) for error in physical.refused] == case.errors
    assert physical.plan == case.plan
    assert case.caps is None or list(physical.caps) == case.caps
    assert given.data == before
    assert kept_fits(physical, case)


BATCHES = ("deletes", "documents", "ops", "updates")


def kept_fits(physical: Physical, case: Case) -> bool:
    """Whether what is left of a batch is told by its old places."""
    batches = [v for n, v in physical.command.items() if n in BATCHES]
    if not case.errors:
        return physical.kept is None
    refused = {index for index, _ in case.errors}
    return len(physical.kept or ()) == len(batches[0]) and not refused & set(physical.kept or ())


@pytest.mark.parametrize("case", REFUSED, ids=case_id)
def test_the_kernel_refuses_a_command(case: Case) -> None:
    with pytest.raises(RefusedError) as refused:
        rewrite(case.document, case.scope)
    assert Refused(refused.value.code, refused.value.at) == case.refused
    assert refused.value.reason


def test_only_strings_of_the_client_are_told_back() -> None:
    """A refusal never names what the client cannot know."""
    for case in REFUSED:
        with pytest.raises(RefusedError) as refused:
            rewrite(case.document, case.scope)
        assert "appdata" not in refused.value.reason or "appdata" in str(case.command), case.id
        assert f"{case.scope.slug}_@" not in refused.value.reason, case.id


SEQUENCES = {"insert": "documents", "update": "updates", "delete": "deletes"}


@cache
def talk() -> Talk:
    """Somebody who has logged in and speaks for the app of each row in turn."""
    return Talk(World(slugs=["shop"]), "shop")


def framed(command: Mapping[str, Any]) -> Frame:
    """A command as drivers send it: its batch is a document sequence of the message."""
    name = SEQUENCES.get(next(iter(command), ""), "")
    batch = command.get(name)
    if not isinstance(batch, list) or not all(isinstance(item, Mapping) for item in batch):
        return one_frame(encode_message(Message(1, 0, 0, encode(command))))
    body = encode({field: value for field, value in command.items() if field != name})
    sections = ((name, tuple(map(encode, batch))),)
    return one_frame(encode_message(Message(1, 0, 0, body, sections)))


def decide(case: Case) -> Decision:
    """What the conversation makes of a row's command."""
    world = talk().world
    world.directory = replace(world.directory, scopes={"shop": case.scope})
    world.change("shop", role=case.scope.role.value)
    if case.opened:
        places = {name: case.opened[name] for name in ("collection", "physical")}
        owner = {"app": "shop", "user": "shop", "db": "app", "database": "appdata"}
        world.cursors.open(case.opened["number"], Cursor(**owner, **places, member=MEMBER), 0.0)
    return talk().session.receive(framed(case.command))


def answered(decision: Decision) -> dict[str, Any]:
    """The proxy's own answer."""
    assert isinstance(decision, Reply), decision
    return heard(one_frame(decision.message)).body


def through_the_proxy(chosen: list[Case]) -> list[Case]:
    """Rows whose app is the client's own and that the kernel alone decides."""
    return [case for case in chosen if case.through == "proxy" and case.scope.slug == "shop"]


@pytest.mark.parametrize("case", through_the_proxy(REWRITTEN), ids=case_id)
def test_the_proxy_forwards(case: Case) -> None:
    decision = decide(case)
    becomes = {**(case.becomes or {}), **case.sent}
    if case.errors and not any(becomes.get(n) for n in BATCHES):
        errors = answered(decision)["writeErrors"]
        assert [(error["index"], error["code"]) for error in errors] == case.errors
        return
    if case.plan:
        assert isinstance(decision, Run)
        decision.steps.close()
        return
    exchange = first_exchange(decision)
    sequences = {name: [Document(d) for d in found] for name, found in exchange.sections}
    same(without_session({**Document(exchange.body), **sequences}), without_session(becomes))
    assert exchange.app == case.scope.slug


def first_exchange(decision: Decision) -> Exchange:
    if isinstance(decision, Run):
        return next(decision.steps)
    assert isinstance(decision, Forward), answered(decision)
    return decision.exchange


def without_session(command: Mapping[str, Any]) -> dict[str, Any]:
    """The proxy has its own say about sessions."""
    return {name: value for name, value in command.items() if name != "lsid"}


@pytest.mark.parametrize("case", through_the_proxy(REFUSED), ids=case_id)
def test_the_proxy_refuses(case: Case) -> None:
    reply = answered(decide(case))
    assert Refused(reply["code"], reply.get("at", "")) == case.refused
    assert reply["ok"] == 0.0


def test_every_row_says_what_it_is_once() -> None:
    told = [case.id for case in cases()]
    assert sorted(told) == sorted(set(told))
    assert all((case.becomes is None) != (case.refused is None) for case in cases())


def firsts(chosen: list[Case]) -> set[str]:
    return {next(iter(case.command), "") for case in chosen}


def inner(name: str) -> set[str]:
    """Names inside the rewritten commands of one kind."""
    found = [case.command for case in REWRITTEN if next(iter(case.command)) == name]
    return {key for command in found for key in names_in(command)}


def test_every_command_has_a_row() -> None:
    assert set(COMMANDS) | set(ALIASES) <= firsts(REWRITTEN)
    writers = {name for name, row in COMMANDS.items() if row.writes}
    assert writers <= firsts([case for case in UNAUTHORIZED if case.scope.role == "read"])
    explained = [case.command["explain"] for case in REWRITTEN if "explain" in case.command]
    assert {next(iter(e)) for e in explained if isinstance(e, dict)} >= EXPLAINED


def test_every_field_of_every_command_has_a_row() -> None:
    fields = {(name, field) for name, row in COMMANDS.items() for field in row.fields}
    seen = {
        (ALIASES.get(first, first), ALIASES.get(field, field))
        for case in cases()
        for first in [next(iter(case.command), "")]
        for field in case.command
    }
    assert sorted(fields - seen) == []


def test_every_stage_has_a_row() -> None:
    assert set(STAGES) <= inner("aggregate")


def test_every_denied_stage_has_a_row() -> None:
    denied_here = {name for case in UNAUTHORIZED for name in names_in(case.command)}
    assert denied_here >= DENIED_STAGES


def test_every_update_operator_has_a_row() -> None:
    assert set(UPDATE_OPERATORS) <= inner("update")


def test_every_kind_of_denied_command_has_a_row() -> None:
    named = firsts(UNAUTHORIZED)
    kinds = {
        name: set(text.split())
        for name, text in vars(denied).items()
        if name.startswith("_") and isinstance(text, str) and not name.startswith("__")
    }
    assert {name for name, members in kinds.items() if not members & named} == set()
    assert [p for p in denied.DENIED_PREFIXES if not any(n.startswith(p) for n in named)] == []


def raised_in_the_kernel() -> set[type[RefusedError]]:
    """Every refusal that some module of the kernel imports."""
    modules = [
        import_module(f"{scope.__name__}.{m.name}") for m in pkgutil.iter_modules(scope.__path__)
    ]
    return {
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, RefusedError) and value is not RefusedError
    }


def test_every_refusal_has_a_row() -> None:
    seen: set[type] = set()
    for case in REFUSED:
        with pytest.raises(RefusedError) as refused:
            rewrite(case.document, case.scope)
        seen.add(refused.type)
    assert {kind.__name__ for kind in raised_in_the_kernel() - seen} <= OF_REPLIES | OF_HOLDINGS
