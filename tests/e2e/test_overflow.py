"""`limits.result_overflow: "error"`: nothing is lost silently."""

import json
from pathlib import Path

import pytest
from pymongo.errors import OperationFailure

from tests.support.proxies import serving

MANIFEST = {
    "schema_version": "2.0",
    "slug": "strict",
    "name": "Strict",
    "status": "active",
    "limits": {"max_results": 250, "result_overflow": "error"},
}


def test_a_result_that_is_not_whole_is_an_error(mongo_uri: str, tmp_path: Path) -> None:
    (tmp_path / "strict.json").write_text(json.dumps(MANIFEST))
    with (
        serving(mongo_uri, tmp_path, tmp_path / "log") as proxy,
        proxy.client("strict") as client,
    ):
        things = client["strict"].things
        things.insert_many([{"n": n} for n in range(250)])
        assert len(list(things.find())) == 250
        assert len(list(things.aggregate([], batchSize=100))) == 250
        assert len(things.distinct("n")) == 250
        things.insert_one({"n": 250})
        assert len(list(things.find().limit(250))) == 250
        for read in (
            lambda: list(things.find()),
            lambda: list(things.find(batch_size=100)),
            lambda: list(things.aggregate([], batchSize=100)),
            lambda: things.distinct("n"),
        ):
            with pytest.raises(OperationFailure, match="exceeds the limit of 250") as refused:
                read()
            assert refused.value.code == 96
