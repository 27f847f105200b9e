"""Vector search through the unchanged driver, on a server without a search process.

Scores are compared with those that Python computes; another app's vectors lie in between.
"""

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from pymongo.errors import OperationFailure
from pymongo.operations import SearchIndexModel

from tests.support.proxies import Client, Proxy, serving

pytestmark = pytest.mark.server

DIMENSIONS = 8
SCORE = {"$meta": "vectorSearchScore"}
Vector = Sequence[float]


def dot(a: Vector, b: Vector) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: Vector, b: Vector) -> float:
    return (1 + dot(a, b) / math.sqrt(dot(a, a)) / math.sqrt(dot(b, b))) / 2


def dot_product(a: Vector, b: Vector) -> float:
    return (1 + dot(a, b)) / 2


def euclidean(a: Vector, b: Vector) -> float:
    return 1 / (1 + math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


METRICS: dict[str, Callable[[Vector, Vector], float]] = {
    "cosine": cosine,
    "dotProduct": dot_product,
    "euclidean": euclidean,
}


def vectors(count: int, seed: int, dimensions: int = DIMENSIONS) -> list[list[float]]:
    source = random.Random(seed)  # noqa: S311 - no secret
    return [[source.gauss(0, 1) for _ in range(dimensions)] for _ in range(count)]


QUERY = vectors(1, 99)[0]


def field(similarity: str = "cosine", path: str = "v", dimensions: int = DIMENSIONS) -> Any:
    return {
        "type": "vector",
        "path": path,
        "numDimensions": dimensions,
        "similarity": similarity,
    }


def model(*fields: Any, name: str = "near") -> SearchIndexModel:
    return SearchIndexModel({"fields": list(fields)}, name=name, type="vectorSearch")


def nearest(limit: int = 5, **more: Any) -> dict[str, Any]:
    given = {"index": "near", "path": "v", "queryVector": QUERY, "limit": limit, "exact": True}
    return {"$vectorSearch": given | more}


def wait(collection: Any, name: str) -> dict[str, Any]:
    """Wait as users do until an index can be asked."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = list(collection.list_search_indexes(name))
        if found and found[0].get("queryable") is True:
            return dict(found[0])
        time.sleep(0.1)
    raise AssertionError(f"{name} did not become queryable")


@pytest.fixture(scope="module")
def alone(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Run a proxy for two apps; one of them has an index in its manifest."""
    folder = tmp_path_factory.mktemp("apps")
    managed = {"name": "near", "type": "vectorSearch", "definition": {"fields": [field()]}}
    more: dict[str, dict[str, Any]] = {
        "shop": {"managed_indexes": {"managed": [managed]}},
        "crm": {},
        "few": {"limits": {"max_results": 120, "result_overflow": "error"}},
    }
    for slug, keys in more.items():
        manifest = {"schema_version": "2.0", "slug": slug, "name": slug, "status": "active"}
        (folder / f"{slug}.json").write_text(json.dumps(manifest | keys))
    log = tmp_path_factory.mktemp("vectors") / "stderr.log"
    with serving(mongo_uri, folder, log) as running:
        yield running


@pytest.fixture(scope="module")
def client(alone: Proxy) -> Iterator[Client]:
    with alone.client("shop") as found:
        yield found


@pytest.fixture
def tasks(client: Client, alone: Proxy, name: str) -> Any:
    """Give a collection of 200 documents with vectors, and planted ones that fit better."""
    collection = client["shop"][name]
    collection.insert_many(
        {"_id": n, "v": v, "n": n, "even": n % 2 == 0} for n, v in enumerate(vectors(200, 1))
    )
    planted = [{"_id": f"p{n}", "v": QUERY, "n": n, "app_id": "crm"} for n in range(20)]
    alone.behind[f"shop_{name}"].insert_many(planted)
    return collection


def expected(similarity: str, keep: Callable[[int], bool] = lambda _: True) -> list[Any]:
    scored = [(METRICS[similarity](v, QUERY), n) for n, v in enumerate(vectors(200, 1)) if keep(n)]
    return sorted(scored, key=lambda pair: (-pair[0], pair[1]))


def same(found: list[dict[str, Any]], wanted: list[Any]) -> None:
    assert [each["_id"] for each in found] == [n for _, n in wanted]
    for each, (score, _) in zip(found, wanted, strict=True):
        assert each["score"] == pytest.approx(score, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("similarity", METRICS)
def test_the_nearest_are_found_in_order(tasks: Any, similarity: str) -> None:
    assert tasks.create_search_index(model(field(similarity))) == "near"
    shown = wait(tasks, "near")
    assert shown["type"] == "vectorSearch"
    assert shown["status"] == "READY"
    assert shown["latestDefinition"] == {"fields": [field(similarity)]}
    found = list(tasks.aggregate([nearest(10), {"$project": {"score": SCORE}}]))
    same(found, expected(similarity)[:10])
    assert set(found[0]) == {"_id", "score"}


def test_without_the_score_whole_documents_come_back(tasks: Any) -> None:
    tasks.create_search_index(model(field()))
    found = list(tasks.aggregate([nearest(3)]))
    assert [set(each) for each in found] == [{"_id", "v", "n", "even"}] * 3


def test_a_filter_comes_before_the_limit(tasks: Any) -> None:
    filters = [{"type": "filter", "path": path} for path in ("even", "n")]
    tasks.create_search_index(model(field(), *filters))
    condition = {"$and": [{"even": True}, {"n": {"$gte": 50, "$lt": 150}}]}
    stages = [nearest(7, filter=condition), {"$set": {"score": SCORE}}]
    wanted = expected("cosine", lambda n: n % 2 == 0 and 50 <= n < 150)[:7]
    same(list(tasks.aggregate(stages)), wanted)
    with pytest.raises(OperationFailure, match="Path 'v2' needs to be indexed as filter"):
        tasks.aggregate([nearest(filter={"v2": 1})])
    foreign = list(tasks.aggregate([nearest(filter={"app_id": "crm"})]))
    assert foreign == []


def test_more_than_one_batch(tasks: Any) -> None:
    tasks.create_search_index(model(field()))
    stages = [nearest(180), {"$project": {"score": SCORE}}]
    same(list(tasks.aggregate(stages)), expected("cosine")[:180])
    same(list(tasks.aggregate(stages, batchSize=50)), expected("cosine")[:180])
    with tasks.database.client.start_session() as session:
        same(list(tasks.aggregate(stages, session=session)), expected("cosine")[:180])


LATER: list[tuple[str, list[Any], Callable[[list[Any]], bool]]] = [
    ("a match", [{"$match": {"$expr": {"$gt": [SCORE, 2]}}}], lambda found: not found),
    ("a sort", [{"$sort": {"x": SCORE}}], lambda found: len(found) == 5),
    (
        "documents in documents",
        [{"$set": {"score": SCORE, "whole": "$$ROOT"}}],
        lambda found: set(found[0]["whole"]) == {"_id", "v", "n", "even"},
    ),
    (
        "another root",
        [
            {"$replaceRoot": {"newRoot": {"$mergeObjects": ["$$ROOT", {"a": 1}]}}},
            {"$project": {"n": 1}},
            {"$addFields": {"score": SCORE}},
        ],
        lambda found: all(set(each) == {"_id", "n", "score"} for each in found),
    ),
    (
        "a group",
        [{"$group": {"_id": None, "best": {"$max": SCORE}, "all": {"$push": "$$ROOT"}}}],
        lambda found: (
            found[0]["best"] == pytest.approx(expected("cosine")[0][0])
            and set(found[0]["all"][0]) == {"_id", "v", "n", "even"}
        ),
    ),
    (
        "facets",
        [{"$facet": {"a": [{"$project": {"score": SCORE}}], "b": [{"$limit": 1}]}}],
        lambda found: (
            len(found[0]["a"]) == 5
            and set(found[0]["a"][0]) == {"_id", "score"}
            and set(found[0]["b"][0]) == {"_id", "v", "n", "even"}
        ),
    ),
    (
        "members as pairs",
        [
            {"$project": {"pairs": {"$objectToArray": "$$ROOT"}, "got": {"$getField": "n"}}},
            {"$set": {"score": SCORE}},
        ],
        lambda found: {pair["k"] for pair in found[0]["pairs"]} == {"_id", "v", "n", "even"},
    ),
    (
        "a variable for the document",
        [
            {"$set": {"x": {"$let": {"vars": {"CURRENT": "$v"}, "in": SCORE}}}},
            {"$unset": "v"},
        ],
        lambda found: found[0]["x"] == pytest.approx(expected("cosine")[0][0]),
    ),
    (
        "redaction",
        [{"$redact": "$$DESCEND"}, {"$unwind": "$v"}, {"$limit": 1}, {"$set": {"score": SCORE}}],
        lambda found: set(found[0]) == {"_id", "v", "n", "even", "score"},
    ),
    ("a count", [{"$count": "n"}], lambda found: found == [{"n": 5}]),
]


@pytest.mark.parametrize(("stages", "fits"), [row[1:] for row in LATER], ids=[r[0] for r in LATER])
def test_later_stages(tasks: Any, stages: list[Any], fits: Callable[[list[Any]], bool]) -> None:
    tasks.create_search_index(model(field()))
    found = list(tasks.aggregate([nearest(5), *stages]))
    assert fits(found), found
    assert "_mdb_engine" not in str(found)


def test_joined_searches(tasks: Any, client: Client) -> None:
    tasks.create_search_index(model(field()))
    inner = [nearest(2), {"$project": {"score": SCORE}}]
    union = [{"$match": {"_id": 0}}, {"$unionWith": {"coll": tasks.name, "pipeline": inner}}]
    found = list(tasks.aggregate(union))
    same(found[1:], expected("cosine")[:2])
    lookup = [{"$limit": 2}, {"$lookup": {"from": tasks.name, "pipeline": inner, "as": "near"}}]
    for each in tasks.aggregate(lookup):
        same(each["near"], expected("cosine")[:2])
    tasks.aggregate([nearest(4), {"$set": {"score": SCORE}}, {"$out": f"{tasks.name}_out"}])
    kept = list(client["shop"][f"{tasks.name}_out"].find().sort("score", -1))
    same(kept, expected("cosine")[:4])
    merge = [nearest(4), {"$set": {"score": SCORE}}, {"$merge": f"{tasks.name}_merged"}]
    tasks.aggregate(merge)
    assert client["shop"][f"{tasks.name}_merged"].count_documents({}) == 4


STRANGE: list[Any] = [
    None,
    "text",
    [],
    [1.0] * (DIMENSIONS - 1),
    [[1.0]] * DIMENSIONS,
    ["a"] + [1.0] * (DIMENSIONS - 1),
    [True] * DIMENSIONS,
    [math.nan] * DIMENSIONS,
    [math.inf] + [0.0] * (DIMENSIONS - 1),
    [1e308] * DIMENSIONS,
    [0.0] * DIMENSIONS,
    {"x": 1},
]


@pytest.mark.parametrize("similarity", METRICS)
def test_what_is_no_vector_is_passed_over(tasks: Any, similarity: str) -> None:
    tasks.insert_many({"_id": f"s{n}", "v": v} for n, v in enumerate(STRANGE))
    tasks.insert_one({"_id": "whole", "v": [1] * DIMENSIONS})
    tasks.create_search_index(model(field(similarity)))
    found = [each["_id"] for each in tasks.aggregate([nearest(1000), {"$project": {"_id": 1}}])]
    strange = {each for each in found if isinstance(each, str)}
    assert len(found) - len(strange) == 200
    assert "whole" in strange
    zeros = {f"s{n}" for n, v in enumerate(STRANGE) if v == [0.0] * DIMENSIONS}
    large = {f"s{n}" for n, v in enumerate(STRANGE) if v == [1e308] * DIMENSIONS}
    assert strange - large - zeros == {"whole"}
    assert zeros <= strange or similarity == "cosine"


def test_paths_into_documents(client: Client, name: str) -> None:
    collection = client["shop"][name]
    deep = [{"_id": n, "a": {"b": v}} for n, v in enumerate(vectors(200, 1))]
    strange = [{"a": [{"b": v}]} for v in vectors(5, 3)]
    mixed = {"a": [{"b": 1}, {"b": [1.0] * DIMENSIONS}]}
    collection.insert_many([*deep, *strange, mixed])
    collection.create_search_index(model(field(path="a.b")))
    stages = [nearest(500, path="a.b"), {"$project": {"score": SCORE}}]
    same(list(collection.aggregate(stages)), expected("cosine"))


def test_indexes_are_listed_changed_and_dropped(tasks: Any) -> None:
    definition = {"fields": [field("euclidean")]}
    assert tasks.create_search_indexes([model(field()), model(field(), name="b")]) == ["near", "b"]
    shown = {each["name"]: each for each in tasks.list_search_indexes()}
    assert set(shown) == {"near", "b"}
    assert len({each["id"] for each in shown.values()}) == 2
    by_id = list(tasks.aggregate([{"$listSearchIndexes": {"id": shown["b"]["id"]}}]))
    assert [each["name"] for each in by_id] == ["b"]
    piped = tasks.aggregate([{"$listSearchIndexes": {}}, {"$project": {"name": 1}}], batchSize=1)
    assert {each["name"] for each in piped} == {"near", "b"}
    tasks.update_search_index("near", definition)
    assert wait(tasks, "near")["latestDefinition"] == definition
    with pytest.raises(OperationFailure) as caught:
        tasks.create_search_index(model(field()))
    assert caught.value.code == 68
    tasks.drop_search_index("near")
    assert [each["name"] for each in tasks.list_search_indexes()] == ["b"]
    for again in (
        lambda: tasks.drop_search_index("near"),
        lambda: tasks.update_search_index("near", definition),
    ):
        with pytest.raises(OperationFailure) as caught:
            again()
        assert caught.value.code == 27
    assert list(tasks.aggregate([nearest()])) == []


def test_a_definition_ends_with_its_collection(tasks: Any, client: Client) -> None:
    tasks.create_search_index(model(field()))
    renamed = tasks.rename(f"{tasks.name}_renamed") and client["shop"][f"{tasks.name}_renamed"]
    assert wait(renamed, "near")["queryable"] is True
    assert len(list(renamed.aggregate([nearest(5)]))) == 5
    renamed.drop()
    renamed.insert_one({"v": QUERY})
    assert list(renamed.list_search_indexes()) == []
    assert list(renamed.aggregate([nearest()])) == []


REFUSED: list[tuple[str, Any, int]] = [
    ("not first", lambda c: c.aggregate([{"$match": {}}, nearest()]), 40602),
    ("in a facet", lambda c: c.aggregate([{"$facet": {"a": [nearest()]}}]), 40600),
    ("without a collection", lambda c: c.database.aggregate([nearest()]), 73),
    ("no index", lambda c: c.aggregate([nearest(index="")]), 2),
    ("another path", lambda c: c.aggregate([nearest(path="w")]), 2),
    ("dimensions", lambda c: c.aggregate([nearest(queryVector=[1.0])]), 2),
    ("zeros", lambda c: c.aggregate([nearest(queryVector=[0] * DIMENSIONS)]), 2),
    ("no number", lambda c: c.aggregate([nearest(exact=False)]), 2),
    ("few", lambda c: c.aggregate([nearest(9, exact=False, numCandidates=8)]), 2),
    ("many", lambda c: c.aggregate([nearest(9, exact=False, numCandidates=10_001)]), 2),
    ("both", lambda c: c.aggregate([nearest(9, numCandidates=9)]), 2),
    ("an operator", lambda c: c.aggregate([nearest(filter={"n": {"$regex": "a"}})]), 2),
    ("code", lambda c: c.aggregate([nearest(filter={"$where": "1"})]), 2),
    ("our field", lambda c: c.aggregate([nearest(), {"$project": {"_mdb_engine_score": 1}}]), 2),
    ("$search", lambda c: c.aggregate([{"$search": {"text": {}}}]), 40324),
    ("text", lambda c: c.create_search_index(SearchIndexModel({"mappings": {}}, name="t")), 59),
    ("nothing", lambda c: c.database[c.name + "_none"].create_search_index(model(field())), 26),
    ("another's", lambda c: c.database["crm_x"].create_search_index(model(field())), 26),
]


@pytest.mark.parametrize(("act", "code"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED])
def test_refusals(tasks: Any, act: Callable[[Any], Any], code: int) -> None:
    filters = {"type": "filter", "path": "n"}
    tasks.create_search_index(model(field(), filters))
    with pytest.raises(OperationFailure) as caught:
        act(tasks)
    assert caught.value.code == code
    assert "shop_" not in str(caught.value.details)


def test_not_in_a_transaction(tasks: Any, client: Client) -> None:
    tasks.create_search_index(model(field()))
    with client.start_session() as session:
        session.start_transaction()
        with pytest.raises(OperationFailure) as caught:
            tasks.aggregate([nearest()], session=session)
        session.abort_transaction()
    assert caught.value.code == 263


def test_explain(tasks: Any) -> None:
    tasks.create_search_index(model(field()))
    for verbosity in ("queryPlanner", "executionStats"):
        command = {"aggregate": tasks.name, "pipeline": [nearest(2)], "cursor": {}}
        reply = tasks.database.command("explain", command, verbosity=verbosity)
        assert reply["ok"]
        assert f"shop_{tasks.name}" not in str(reply)
    listed = {"aggregate": tasks.name, "pipeline": [{"$listSearchIndexes": {}}], "cursor": {}}
    assert tasks.database.command("explain", listed)["ok"]


def test_an_index_of_the_manifest(client: Client, alone: Proxy) -> None:
    collection = client["shop"]["managed"]
    collection.insert_many({"_id": n, "v": v} for n, v in enumerate(vectors(200, 1)))
    assert wait(collection, "near")["type"] == "vectorSearch"
    same(
        list(collection.aggregate([nearest(5), {"$project": {"score": SCORE}}])),
        expected("cosine")[:5],
    )
    with pytest.raises(OperationFailure) as caught:
        collection.drop_search_index("near")
    assert caught.value.code == 20
    with alone.client("crm") as crm:
        other = crm["crm"]["managed"]
        other.insert_one({"v": QUERY})
        assert list(other.list_search_indexes()) == []
        assert list(other.aggregate([nearest()])) == []


def test_apps_do_not_see_each_others_indexes_or_candidates(alone: Proxy, name: str) -> None:
    with alone.client("shop") as shop, alone.client("crm") as crm:
        for slug, found in (("shop", shop), ("crm", crm)):
            collection = found[slug][name]
            collection.insert_many({"_id": n, "v": QUERY, "of": slug} for n in range(3))
            collection.create_search_index(model(field(), name=f"of_{slug}"))
        mine = shop["shop"][name]
        assert [each["name"] for each in mine.list_search_indexes()] == ["of_shop"]
        assert list(mine.aggregate([nearest(index="of_crm")])) == []
        found_here = list(mine.aggregate([nearest(10, index="of_shop")]))
        assert [each["of"] for each in found_here] == ["shop"] * 3


def test_one_candidate_too_many(alone: Proxy, client: Client, name: str) -> None:
    collection = client["shop"][name]
    collection.insert_many({"v": [1.0, n]} for n in range(50_000))
    alone.behind[f"shop_{name}"].insert_one({"v": [1.0, 1.0], "app_id": "crm"})
    collection.create_search_index(model(field("euclidean", dimensions=2)))
    stages = [nearest(1, queryVector=[1.0, 5.0])]
    assert [each["v"] for each in collection.aggregate(stages)] == [[1.0, 5.0]]
    collection.insert_one({"v": [1.0, 50_000]})
    with pytest.raises(OperationFailure, match="at most 50000 documents") as caught:
        collection.aggregate(stages)
    assert caught.value.code == 96


def test_a_result_that_is_not_whole_is_an_error(alone: Proxy, name: str) -> None:
    with alone.client("few") as few:
        collection = few["few"][name]
        collection.insert_many({"_id": n, "v": v} for n, v in enumerate(vectors(200, 1)))
        collection.create_search_index(model(field()))
        assert len(list(collection.aggregate([nearest(110)]))) == 110
        for size in (0, 1000):
            options = {"batchSize": size} if size else {}
            with pytest.raises(OperationFailure) as caught:
                list(collection.aggregate([nearest(130)], **options))
            assert caught.value.code == 96


def test_speed(client: Client, name: str, record_property: Callable[[str, object], None]) -> None:
    """2,000 vectors of 384 dimensions: some 0.2 s; a generous bound finds a slow expression."""
    collection = client["shop"][name]
    collection.insert_many({"_id": n, "v": v} for n, v in enumerate(vectors(2_000, 5, 384)))
    collection.create_search_index(model(field(dimensions=384)))
    began = time.perf_counter()
    found = list(collection.aggregate([nearest(10, queryVector=vectors(1, 6, 384)[0])]))
    seconds = time.perf_counter() - began
    record_property("seconds", seconds)
    assert len(found) == 10
    assert seconds < 5
