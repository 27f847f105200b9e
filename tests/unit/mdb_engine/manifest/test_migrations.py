"""Older manifests in today's form."""

from typing import Any

import pytest

from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest.migrations import MIGRATIONS, NEWEST, migrate, version_of


@pytest.mark.parametrize(
    ("document", "version"),
    [
        ({}, "2.0"),
        ({"schema_version": "2.0"}, "2.0"),
        ({"schema_version": "1.0"}, "1.0"),
        ({"auth_policy": {}}, "1.0"),
        ({"sub_auth": {}}, "1.0"),
        ({"auth_policy": {}, "auth": {}}, "2.0"),
        ({"schema_version": "2.0", "auth_policy": {}}, "2.0"),
    ],
)
def test_version(document: dict[str, Any], version: str) -> None:
    assert version_of(document) == version


@pytest.mark.parametrize("version", ["3.0", "2.1", "0.9", "", "2", 2.0, True, ["2.0"]])
def test_unknown_versions(version: object) -> None:
    with pytest.raises(ManifestValidationError) as caught:
        migrate({"schema_version": version})
    assert caught.value.path == "schema_version"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            {"schema_version": "1.0", "slug": "a"},
            {"schema_version": "2.0", "slug": "a"},
        ),
        (
            {"auth_policy": {"required": False}, "sub_auth": {"enabled": True}},
            {
                "schema_version": "2.0",
                "auth": {"policy": {"required": False}, "users": {"enabled": True}},
            },
        ),
        (
            {"schema_version": "1.0", "sub_auth": {}, "auth": {"roles": ["a"]}},
            {"schema_version": "2.0", "auth": {"roles": ["a"], "users": {}}},
        ),
        ({"slug": "a"}, {"slug": "a"}),
    ],
)
def test_migrated(old: dict[str, Any], new: dict[str, Any]) -> None:
    copy = {**old}
    assert migrate(old) == new
    assert old == copy


@pytest.mark.parametrize(
    ("old", "path"),
    [
        ({"schema_version": "1.0", "sub_auth": {}, "auth": {"users": {}}}, "sub_auth"),
        ({"schema_version": "1.0", "auth_policy": {}, "auth": 3}, "auth"),
    ],
)
def test_refused(old: dict[str, Any], path: str) -> None:
    with pytest.raises(ManifestValidationError) as caught:
        migrate(old)
    assert caught.value.path == path


def test_every_step_ends_at_the_newest() -> None:
    for version in MIGRATIONS:
        assert migrate({"schema_version": version})["schema_version"] == NEWEST
