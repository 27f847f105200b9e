from collections.abc import Callable

import pytest

from mdb_engine.database import ScopedDatabase
from mdb_engine.exceptions import InvalidNamespaceError
from tests.support.recorders import Recorder

WRONG = ["../other", "123users", "apps_config", "system_users", "a..b", "", "$cmd", "eu_tasks"]


@pytest.mark.parametrize("name", WRONG)
def test_names_that_cannot_be(on_recorder: Callable[..., None], name: str) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        with pytest.raises(InvalidNamespaceError):
            db[name]
        assert recorder.seen == []

    on_recorder(body)


def test_a_name_is_a_text(on_recorder: Callable[..., None]) -> None:
    async def body(db: ScopedDatabase, _: Recorder) -> None:
        with pytest.raises(TypeError):
            db[5]  # type: ignore[index]

    on_recorder(body)
