"""What an app may store: collections and indexes to the one, bytes every five seconds."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymongo import IndexModel
from pymongo.errors import OperationFailure, PyMongoError

from tests.support.proxies import serving

COUNTED_SECONDS = 20
LIMITS = {"max_collections": 3, "max_indexes": 3, "storage_bytes": 200_000}


def refused_with(code: int, attempt: Callable[[], Any]) -> bool:
    """Whether it is refused so within the time that counting may take."""
    deadline = time.monotonic() + COUNTED_SECONDS
    while time.monotonic() < deadline:
        try:
            attempt()
        except OperationFailure as error:
            if error.code == code:
                return True
        time.sleep(0.2)
    return False


def test_quotas_of_an_app(mongo_uri: str, tmp_path: Path) -> None:
    for slug, limits in (("small", LIMITS), ("other", {})):
        manifest = {"schema_version": "2.0", "slug": slug, "name": slug, "status": "active"}
        (tmp_path / f"{slug}.json").write_text(json.dumps(manifest | {"limits": limits}))
    with (
        serving(mongo_uri, tmp_path, tmp_path / "log") as proxy,
        proxy.client("small") as small,
        proxy.client("other") as other,
    ):
        home = small["small"]
        for name in ("a", "b", "c"):
            home[name].insert_one({"_id": 1})
        with pytest.raises(OperationFailure, match="at most 3 collections"):
            home.create_collection("d")
        home.drop_collection("c")
        home.create_collection("d")
        home.d.drop()
        small.drop_database("x")
        home.c.insert_one({"_id": 1})
        home.c.create_indexes([IndexModel("x"), IndexModel("y")])
        home.c.create_index("x")
        with pytest.raises(OperationFailure, match=r"too many indexes for small\.c: at most 3"):
            home.c.create_index("z")
        home.a.insert_one({"_id": 2})
        with pytest.raises(PyMongoError, match="at most 3 collections"):
            home.e.insert_one({})
        with pytest.raises(PyMongoError, match="different case"):
            small["SMALL"].a.insert_one({})
        other["other"].d.insert_one({})
        home.a.insert_many([{"x": i, "y": "z" * 900 + str(i)} for i in range(2_000)])
        proxy.admin.admin.command("fsync")
        assert refused_with(14031, lambda: home.a.update_one({"_id": 1}, {"$inc": {"n": 1}}))
        assert home.a.count_documents({}) == 2_002
        assert home.a.delete_one({"_id": 2}).deleted_count == 1
        home.drop_collection("a")
        other["other"].d.insert_one({})
