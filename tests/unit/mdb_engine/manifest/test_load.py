"""From files to manifests, or to one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from mdb_engine.exceptions import ConfigurationError, ManifestValidationError
from mdb_engine.manifest import load_folder, load_manifest, parse

SHIPPED = Path(__file__).parents[4] / "manifests"


def write(folder: Path, name: str, text: str | None = None, **keys: Any) -> Path:
    path = folder / name
    slug = name.removesuffix(".json")
    document = {"slug": slug, "name": "App", **keys}
    path.write_text(json.dumps(document) if text is None else text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.json")), ids=lambda path: path.name)
def test_shipped_manifests_load(path: Path) -> None:
    assert load_manifest(path).slug == path.stem


def test_shipped_manifests_load_together() -> None:
    assert set(load_folder(SHIPPED)) >= {"crm", "shop"}


def test_comments_and_byte_order_marks_are_tolerated(tmp_path: Path) -> None:
    path = write(tmp_path, "shop.json", '\ufeff{"slug": "shop", // hi\n "name": "Shop"}')
    assert load_manifest(path).name == "Shop"


@pytest.mark.parametrize("document", [None, [], "x", 3])
def test_not_an_object(document: object) -> None:
    with pytest.raises(ManifestValidationError, match=r"^shop\.json: a manifest is a JSON object$"):
        parse(document, source="shop.json")


def test_sentence_names_file_path_and_rule(tmp_path: Path) -> None:
    path = write(tmp_path, "shop.json", limits={"max_result": 3})
    with pytest.raises(ManifestValidationError) as caught:
        load_manifest(path)
    assert str(caught.value) == (
        "shop.json: limits.max_result: unknown key; did you mean 'max_results'?"
    )


def test_values_are_not_quoted(tmp_path: Path) -> None:
    users = {"demo_users": [{"password": ["topsecret"]}]}
    path = write(tmp_path, "shop.json", auth={"users": users})
    with pytest.raises(ManifestValidationError) as caught:
        load_manifest(path)
    assert "topsecret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("shop.json", b"\xff\xfe", "not UTF-8"),
        ("shop.json", b"{", "not JSON"),
        ("shop.json", b"[]", "a JSON object"),
        ("shop.json", b'{"slug": ["shop"]}', "a text is expected"),
        ("other.json", b'{"slug": "shop", "name": "x"}', "is named shop.json"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestValidationError, match=reason) as caught:
        load_folder(tmp_path)
    assert caught.value.source == name


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ManifestValidationError, match="cannot be read"):
        load_manifest(tmp_path / "shop.json")


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        load_folder(tmp_path / "nowhere")


def test_only_json_files_count(tmp_path: Path) -> None:
    write(tmp_path, "shop.json")
    write(tmp_path, "crm.json")
    write(tmp_path, ".hidden.json", "junk")
    write(tmp_path, "notes.txt", "junk")
    (tmp_path / "folder.json").mkdir()
    assert list(load_folder(tmp_path)) == ["crm", "shop"]


def test_slugs_that_fold_alike(tmp_path: Path) -> None:
    write(tmp_path, "shop-eu.json")
    write(tmp_path, "shop_eu.json")
    with pytest.raises(ManifestValidationError, match="too like") as caught:
        load_folder(tmp_path)
    assert caught.value.source == "shop_eu.json"


def test_trusted_apps_may_raise_their_limits(tmp_path: Path) -> None:
    path = write(tmp_path, "shop.json", limits={"max_results": 20_000})
    with pytest.raises(ManifestValidationError, match="operator"):
        load_folder(tmp_path)
    assert load_manifest(path, trusted={"shop"}).limits.max_results == 20_000
    assert load_folder(tmp_path, trusted={"shop"})["shop"].limits.max_results == 20_000
