from types import SimpleNamespace
from typing import Any

import pytest

from mdb_engine.dependencies import get_engine, get_scoped_db
from mdb_engine.exceptions import ConfigurationError, NotInitializedError


class Engine:
    def __init__(self, *slugs: str) -> None:
        self.slugs = list(slugs)

    def list_apps(self) -> list[str]:
        return self.slugs

    def get_scoped_db(self, slug: str) -> str:
        return f"the database of {slug}"


def connection(**state: Any) -> Any:
    return SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(**state)))


def test_the_engine_of_the_app_that_serves() -> None:
    engine = Engine()
    assert get_engine(connection(engine=engine)) is engine
    with pytest.raises(NotInitializedError):
        get_engine(connection())


def test_whose_database() -> None:
    ask: Any = get_scoped_db
    assert ask(connection(app_slug="crm"), Engine("shop", "crm")) == "the database of crm"
    assert ask(connection(), Engine("shop")) == "the database of shop"
    for slugs in ((), ("shop", "crm")):
        with pytest.raises(ConfigurationError, match="app_slug"):
            ask(connection(), Engine(*slugs))
