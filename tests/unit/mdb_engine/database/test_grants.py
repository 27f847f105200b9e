import re
from datetime import UTC, datetime
from typing import Any

import pytest

from mdb_engine.database.grants import Known, grant, scope_for
from mdb_engine.exceptions import ConfigurationError
from mdb_engine.manifest import Manifest, parse
from mdb_engine.registry import LedgerEntry
from mdb_engine.scope.names import fold

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def app(slug: str = "shop", **keys: Any) -> Manifest:
    return parse({"slug": slug, "name": slug, **keys})


def known(*manifests: Manifest, ledger: tuple[str, ...] = ()) -> Known:
    slugs = (*(each.slug for each in manifests), *ledger)
    entries = {s: LedgerEntry(s, "live", NOW, None, fold(s), (s, f"old_{s}")) for s in slugs}
    return Known("appdata", {each.slug: each for each in manifests}, entries)


def test_a_handle_of_the_app_itself() -> None:
    here = known(app(), ledger=("shop_eu",))
    scope = scope_for(grant(app(), None, None), here)
    assert (scope.slug, scope.database, scope.home) == ("shop", "appdata", ("shop", "old_shop"))
    assert (scope.readable, scope.longer, scope.expose_app_id) == ((), ("shop_eu",), True)
    hidden = app(data_access={"expose_app_id": False})
    assert scope_for(grant(hidden, None, None), known(hidden)).expose_app_id is False


def test_read_scopes() -> None:
    given = grant(app(), ["shop", "shared"], None)
    assert given.explicit
    assert scope_for(given, known(app(), app("shared"))).readable == ("shared",)
    assert scope_for(given, known(app())).readable == (), "nobody has such documents"


def test_a_manifest_that_says_who_may_be_read_is_obeyed() -> None:
    strict = app(data_access={"read_scopes": ["shared"]})
    assert grant(strict, None, None).reads == ("shared",)
    assert grant(strict, ["shop"], None).reads == ()
    assert not grant(strict, ["shared", "shop"], None).explicit
    with pytest.raises(ValueError, match="does not grant the read scope 'crm'"):
        grant(strict, ["crm"], None)
    denied = app(data_access={"read_scopes": ["shared"], "cross_app_policy": "deny_all"})
    with pytest.raises(ValueError, match="does not grant"):
        grant(denied, ["shared"], None)


WRONG = [["*"], [""], [], "shop", [None], {"$ne": 1}, [{"$ne": 1}], [re.compile("x")], 5, ["a", 1]]


@pytest.mark.parametrize("scopes", WRONG, ids=repr)
def test_scopes_that_are_none(scopes: Any) -> None:
    with pytest.raises(ConfigurationError):
        grant(app(), scopes, None)


def test_the_list_is_copied() -> None:
    scopes = ["shared"]
    given = grant(app(), scopes, None)
    scopes.append("crm")
    assert given.reads == ("shared",)


def test_writing_for_another_app() -> None:
    lending = app(data_access={"write_scope": "crm", "read_scopes": ["crm"]})
    given = grant(lending, None, None)
    scope = scope_for(given, known(lending, app("crm")))
    assert (scope.slug, scope.home, scope.readable) == ("crm", ("crm",), ("shop",))
    assert grant(lending, None, "shop").writes == "shop"
    for wrong in ("other", "", 5, ["crm"]):
        with pytest.raises(ConfigurationError):
            grant(lending, None, wrong)
    with pytest.raises(ConfigurationError):
        grant(app(), None, "crm")


def test_an_app_that_is_gone() -> None:
    with pytest.raises(ConfigurationError, match="not registered"):
        scope_for(grant(app(), None, None), known())
    assert scope_for(grant(app(), None, None), known(), app()).slug == "shop"
