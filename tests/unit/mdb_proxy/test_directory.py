"""Who may log in, what a login opens now, and what of it is never shown."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mdb_engine.credentials import ScramKeys
from mdb_engine.scope.model import Role
from mdb_proxy.auth import Doors, Guest
from mdb_proxy.directory import UNLIMITED, Directory, captured, withdrawn
from tests.support.talks import NOW, SECRET, World, credential, scope
from tests.support.tokens import RULE

OTHER_KEYS = {"SCRAM-SHA-256": ScramKeys(b"salt", 4096, b"stored", b"server")}


@pytest.mark.parametrize(
    ("name", "fields", "found"),
    [
        ("shop", {}, True),
        ("nobody", {}, False),
        ("shop", {"disabled": True}, False),
        ("shop", {"expires_at": NOW}, False),
        ("shop", {"expires_at": NOW + timedelta(seconds=1)}, True),
        ("shop", {"app": "gone"}, False),
    ],
)
def test_who_may_log_in(name: str, fields: dict[str, Any], found: bool) -> None:
    directory = Directory({"shop": scope()}, {"shop": replace(credential(), **fields)}, SECRET)
    assert (directory.credential(name, NOW) is not None) == found


@pytest.mark.parametrize(
    ("fields", "opened"),
    [
        ({}, True),
        ({"disabled": True}, False),
        ({"expires_at": NOW}, False),
        ({"app": "crm"}, False),
        ({"scram": OTHER_KEYS}, False),
        ({"x509": "CN=a"}, False),
        ({"plain": True}, True),
    ],
)
def test_what_a_login_opens_now(fields: dict[str, Any], opened: bool) -> None:
    world = World()
    before = world.directory.credentials["shop"]
    world.change("shop", **fields)
    assert (world.directory.scope(before, NOW) is not None) == opened


@pytest.mark.parametrize("gone", [{"name": "shop"}, {"app": "shop"}])
def test_what_has_gone_opens_nothing(gone: dict[str, str]) -> None:
    world = World()
    world.forget(**gone)
    assert world.directory.scope(credential(), NOW) is None


def test_role_and_limits_are_those_of_now() -> None:
    world = World(max_results=50)
    before = world.directory.credentials["shop"]
    usual = world.directory.scope(before, NOW)
    world.change("shop", role="read", unlimited=True)
    lifted = world.directory.scope(before, NOW)
    assert usual is not None
    assert lifted is not None
    assert (usual.role, usual.limits.max_results) == (Role.READ_WRITE, 50)
    assert lifted.role is Role.READ
    assert (lifted.limits.max_results, lifted.limits.max_batch) == (UNLIMITED, UNLIMITED)
    assert lifted.limits.max_stages == usual.limits.max_stages


def test_no_secret_is_shown() -> None:
    world = World()
    assert repr(SECRET)[2:-1] not in repr(world.directory)
    assert "ScramKeys" not in repr(world.directory)


@pytest.mark.parametrize(
    ("before", "after", "gone"),
    [
        ({}, {}, False),
        ({"readable": ("crm",)}, {}, True),
        ({"readable": ("crm", "hr")}, {"readable": ("hr", "crm", "new")}, False),
        ({}, {"readable": ("crm",)}, False),
        ({"home": ("a", "b")}, {"home": ("b", "a")}, True),
        ({"home": ("a", "b")}, {"home": ("a", "c")}, False),
        ({}, None, True),
    ],
)
def test_whose_cursors_must_go(
    before: dict[str, Any], after: dict[str, Any] | None, gone: bool
) -> None:
    old = Directory({"shop": replace(scope(), **before)}, {}, SECRET)
    new = {} if after is None else {"shop": replace(scope(), **after)}
    assert withdrawn(old, Directory({**new, "fresh": scope("fresh")}, {}, SECRET)) == (
        ("shop",) if gone else ()
    )


def test_what_newer_slugs_take() -> None:
    def seen(**longer: tuple[str, ...]) -> Directory:
        scopes = {slug: scope(slug, longer=found) for slug, found in longer.items()}
        return Directory(scopes, {}, SECRET)

    before = seen(shop=("shop_eu",), crm=())
    assert captured(before, before) == {}
    after = seen(shop=("shop_eu", "shop_new"), crm=(), other=("other_x",))
    assert captured(before, after) == {"shop": ("shop_new_",)}
    assert captured(after, before) == {}, "a slug that is released takes nothing"
    assert captured(before, seen(crm=())) == {}


CARD = Guest("CN=a", "shop", "read")


@pytest.mark.parametrize(
    ("stored", "fields", "found"),
    [
        ([], {}, "CN=a"),
        (["one"], {}, "one"),
        (["one"], {"disabled": True}, None),
        (["one"], {"expires_at": NOW}, None),
        (["one"], {"app": "gone"}, None),
        (["one", "two"], {}, None),
    ],
)
def test_whose_a_certificate_is(
    stored: list[str], fields: dict[str, Any], found: str | None
) -> None:
    world = World(*(credential(name, "shop", x509="CN=a") for name in stored))
    world.open(subjects={"CN=a": CARD})
    for name in stored:
        world.change(name, **fields)
    holder = world.directory.subject("CN=a", NOW)
    assert (holder and holder.name) == found
    assert world.directory.subject("CN=b", NOW) is None
    assert World(slugs=["shop"]).directory.subject("", NOW) is None
    world.forget(app="shop")
    assert world.directory.subject("CN=a", NOW) is None


def test_a_guest_stays_while_the_rule_stands() -> None:
    world = World()
    world.open(subjects={"CN=a": CARD}, tokens=(RULE,))
    bearer = Guest("x#y", "shop", "read", RULE, NOW)
    for guest in (CARD, bearer):
        scope = world.directory.scope(guest, NOW)
        assert scope is not None
        assert (scope.slug, scope.role) == ("shop", Role.READ)
    for doors in (
        {},
        {"subjects": {"CN=a": replace(CARD, role="readWrite")}},
        {"tokens": (replace(RULE, audience="other"),)},
    ):
        world.open(**doors)
        assert world.directory.scope(CARD, NOW) is None
        assert world.directory.scope(bearer, NOW) is None
    world.open(subjects={"CN=a": CARD}, tokens=(RULE,))
    world.forget(app="shop")
    assert world.directory.scope(CARD, NOW) is None
    assert world.directory.scope(bearer, NOW) is None


def test_what_is_stored_has_the_last_word() -> None:
    world = World(credential("bot", "shop", x509="CN=a", disabled=True))
    world.directory = replace(world.directory, doors=Doors(subjects={"CN=a": CARD}))
    assert world.directory.scope(CARD, NOW) is None
