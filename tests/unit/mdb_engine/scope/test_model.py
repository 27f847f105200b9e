"""The nouns: a scope knows its slugs, a place its path."""

from dataclasses import replace

import pytest

from mdb_engine.scope.model import Features, Limits, Notes, Role, Scope, Where
from tests.support.kernel import SHOP


def test_every_slug_that_could_own_a_name() -> None:
    scope = replace(SHOP, readable=("shared",), longer=("shop_eu", "shared_x"))
    assert scope.slugs == ("shop", "shared", "shop_eu", "shared_x")


@pytest.mark.parametrize("expose", [True, False])
def test_the_tag_is_hidden_unless_exposed(*, expose: bool) -> None:
    assert replace(SHOP, expose_app_id=expose).hidden is not expose


def test_defaults_are_the_careful_ones() -> None:
    scope = Scope("shop", "appdata", ("app",))
    assert (scope.hidden, scope.pinned, scope.role) == (True, False, Role.READ_WRITE)
    assert scope.features == Features((6, 0), search=False, standalone=False)
    assert (scope.limits.max_results, scope.limits.max_batch) == (10_000, 1_000)
    assert scope.limits == Limits()


def test_roles_are_spelled_as_mongodb_spells_them() -> None:
    assert [str(role) for role in Role] == ["readWrite", "read"]


def test_a_place_grows_downwards_and_shares_its_notes() -> None:
    top = Where("update", "app", {"ordered": True})
    deep = top.at("updates", 3).inside({"multi": True}, "q")
    assert (str(top), str(deep)) == ("", "updates.3.q")
    assert (deep.command, deep.db, deep.owner) == ("update", "app", {"multi": True})
    assert deep.notes is top.notes
    assert top.path == ()


def test_places_are_equal_whatever_was_noted() -> None:
    assert Where("find", "app", notes=Notes(caps=["max_time_ms"])) == Where("find", "app")
