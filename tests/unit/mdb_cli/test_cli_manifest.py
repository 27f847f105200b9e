"""`mdb manifest`: checking manifests, printing their schema."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mdb_cli.cli_manifest import app

GOOD = {"schema_version": "2.0", "slug": "shop", "name": "Shop", "status": "active"}


@pytest.mark.parametrize(
    ("manifest", "code", "said"),
    [
        (GOOD, 0, "shop.json: shop"),
        ({**GOOD, "slug": "Not A Slug"}, 3, "shop.json: slug"),
        ({**GOOD, "surplus": 1}, 3, "surplus"),
    ],
)
def test_validate(tmp_path: Path, manifest: dict[str, object], code: int, said: str) -> None:
    path = tmp_path / "shop.json"
    path.write_text(json.dumps(manifest))
    for where in (path, tmp_path):
        done = CliRunner().invoke(app, ["validate", str(where)])
        assert done.exit_code == code
        assert said.removeprefix("shop.json: ") in done.stdout + done.stderr


def test_schema_is_json() -> None:
    done = CliRunner().invoke(app, ["schema"])
    assert json.loads(done.stdout)["properties"]["slug"]
