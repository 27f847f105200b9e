"""The packaged JSON Schema is the models' own, and says the same as they do."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest import parse
from mdb_engine.manifest.comments import read_json
from mdb_engine.manifest.schema import json_schema, schema_text

SHIPPED = Path(__file__).parents[4] / "manifests"


def test_packaged_file_is_up_to_date() -> None:
    packaged = files("mdb_engine.manifest").joinpath("manifest.schema.json").read_text("utf-8")
    assert packaged == schema_text()
    assert json.loads(packaged) == json_schema()


def test_schema_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.json")), ids=lambda path: path.name)
def test_shipped_manifests_fit(path: Path) -> None:
    document = read_json(path.read_text("utf-8"))
    jsonschema.Draft202012Validator(json_schema()).validate(document)


@pytest.mark.parametrize(
    ("keys", "fits"),
    [
        ({}, True),
        ({"x-own": 1}, True),
        ({"$schema": "x"}, True),
        ({"own": 1}, False),
        ({"auth": {"csrf_protection": True}}, True),
        ({"auth": {"csrf_protection": {"enabled": True}}}, True),
        ({"auth": {"csrf_protection": {"enable": True}}}, False),
        ({"database": "a"}, True),
        ({"database": ["a", "b"]}, True),
        ({"proxy": {"read_preference": "nearest"}}, True),
        ({"managed_indexes": {"t": [{"type": "regular", "name": "a", "keys": {"a": 1}}]}}, True),
        ({"managed_indexes": {"t": [{"type": "regular", "name": "a", "keys": [["a", 1]]}]}}, True),
        ({"managed_indexes": {"t": [{"type": "regular", "nam": "a", "keys": {"a": 1}}]}}, False),
        ({"collection_settings": {"t": {"validation": {"validationLevel": "off"}}}}, True),
    ],
)
def test_same_verdict_as_the_models(keys: dict[str, Any], fits: bool) -> None:
    document = {"slug": "shop", "name": "Shop", **keys}
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(document) is fits
    if fits:
        parse(document)
    else:
        with pytest.raises(ManifestValidationError):
            parse(document)
