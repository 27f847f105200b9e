from typing import Any

import pytest

from mdb_engine.manifest.extras import installed, missing_extra
from mdb_engine.manifest.model import Manifest


def app(**policy: Any) -> Manifest:
    return Manifest.model_validate({"slug": "a", "name": "A", "auth": {"policy": policy}})


@pytest.mark.parametrize(
    ("policy", "there", "missing"),
    [
        ({"provider": "casbin"}, set(), "mdb-engine[casbin]"),
        ({"provider": "casbin"}, {"casbin"}, None),
        ({"provider": "oso"}, {"casbin"}, "mdb-engine[oso]"),
        ({"provider": "oso"}, {"oso"}, None),
        ({"provider": "oso"}, {"oso_cloud"}, None),
        ({"provider": "custom"}, set(), None),
        ({"required": False}, set(), None),
    ],
)
def test_what_is_missing(policy: dict[str, Any], there: set[str], missing: str | None) -> None:
    found = missing_extra(app(**policy), there.__contains__)
    assert missing is None if found is None else missing is not None and missing in found


def test_an_app_without_a_policy() -> None:
    assert missing_extra(Manifest.model_validate({"slug": "a", "name": "A"})) is None


def test_looking_does_not_import() -> None:
    assert installed("json")
    assert not installed("a_module_that_is_not_there")
