"""Logical commands that try to name and match what is not their app's, in every position."""

from typing import Any

from hypothesis import strategies as st

Tree = dict[str, Any]

OWN = st.sampled_from(["tasks", "users", "fs.files", "eu", "crm_tasks", "shop_tasks", "Eu_tasks"])
OTHERS = st.sampled_from([
    *("eu_tasks", "eu_x", "shop_eu_tasks", "shared_catalog", "shared_x", "shop_users"),
    *("appdata.crm_tasks", "@crm.tasks", "crm_@x.y", "../crm_x", "", "a..b", "$cmd"),
    *("system.users", "apps_config", "_mdb_engine_slugs", "shared_@x.y", "shared_", "crm_"),
])  # fmt: skip
COLLECTIONS = OWN | OWN | OWN | OTHERS
DATABASES = st.sampled_from(["app", "app", "app", "other", "appdata", "crm", "é", "eu_x", "shop"])
FIELDS = st.sampled_from(["app_id", "a", "_id", "app_id.x", "crm_tasks", "a.b"])
TEXTS = st.sampled_from(["crm", "shop", "shop_eu", "$app_id", "$$ROOT", "crm_tasks", "$a", ""])
VALUES = st.one_of(
    TEXTS, st.integers(0, 3), st.none(), st.just({"$ne": "shop"}), st.just({"$in": ["crm", "shop"]})
)
COLLATIONS = st.sampled_from([None, {"locale": "en", "strength": 1}, {"locale": "simple"}])


def _joined(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    return st.builds(
        lambda name, parts: {name: parts},
        st.sampled_from(["$and", "$or", "$nor"]),
        st.lists(inner, min_size=1, max_size=2),
    )


FILTERS = st.recursive(
    st.dictionaries(FIELDS, VALUES, max_size=2)
    | st.just({"$expr": {"$ne": ["$app_id", "shop"]}})
    | st.just({"$text": {"$search": "x"}}),
    _joined,
    max_leaves=4,
)
PLAIN_STAGES = st.one_of(
    FILTERS.map(lambda f: {"$match": f}),
    st.just({"$project": {"app_id": 0}}),
    st.just({"$set": {"app_id": "crm"}}),
    st.just({"$group": {"_id": "$app_id"}}),
    st.just({"$unwind": "$joined"}),
    st.just({"$sample": {"size": 3}}),
    st.just({"$limit": 5}),
    st.just({"$replaceWith": {"whole": "$$ROOT"}}),
    st.just({"$unset": "app_id"}),
).map(dict)  # one branch among those of a union, not nine
HEADS = st.one_of(
    FILTERS.map(
        lambda f: {"$geoNear": {"near": [1, 2], "distanceField": "d", "query": f, "key": "x"}}
    ),
    st.just({"$geoNear": {"near": [1, 2], "distanceField": "d"}}),
    st.just({"$collStats": {"count": {}}}),
    st.just({"$indexStats": {}}),
    st.just({"$documents": [{"a": 1}]}),
)


def _lookup(source: str, pipeline: Any, form: int) -> Tree:
    joined = {"localField": "a", "foreignField": "a"}
    parts: Tree = {"from": source, "as": "joined"}
    if form != 1:
        parts |= joined
    if form:
        parts |= {"pipeline": pipeline, "let": {"x": "$a"}}
    return {"$lookup": parts}


def _graph(source: str, condition: Tree | None) -> Tree:
    spec = {"from": source, "startWith": "$a", "connectFromField": "a", "connectToField": "b"}
    more = {} if condition is None else {"restrictSearchWithMatch": condition}
    return {"$graphLookup": {**spec, "as": "found", **more}}


def _union(source: str, pipeline: Any) -> Tree:
    return {"$unionWith": source if pipeline is None else {"coll": source, "pipeline": pipeline}}


def _stages(inner: st.SearchStrategy[list[Tree]]) -> st.SearchStrategy[Tree]:
    return st.one_of(
        PLAIN_STAGES,
        st.builds(_lookup, COLLECTIONS, inner, st.integers(0, 2)),
        st.builds(_graph, COLLECTIONS, st.none() | FILTERS),
        st.builds(_union, COLLECTIONS, st.none() | inner),
        st.dictionaries(st.sampled_from(["f", "g"]), inner, min_size=1).map(
            lambda branches: {"$facet": branches}
        ),
    )


def _pipelines(inner: st.SearchStrategy[list[Tree]]) -> st.SearchStrategy[list[Tree]]:
    return st.builds(
        lambda head, rest: [*head, *rest],
        st.just([]) | st.just([]) | st.just([]) | HEADS.map(lambda stage: [stage]),
        st.lists(_stages(inner), max_size=3),
    )


NESTED = _pipelines(_pipelines(st.lists(PLAIN_STAGES, max_size=2)))
INTO = st.one_of(COLLECTIONS, st.builds(lambda d, c: {"db": d, "coll": c}, DATABASES, COLLECTIONS))
WRITERS = st.one_of(
    INTO.map(lambda into: {"$out": into}),
    INTO.map(lambda into: {"$merge": {"into": into}}),
    INTO.map(lambda into: {"$merge": {"into": into, "whenMatched": [{"$set": {"app_id": "crm"}}]}}),
    COLLECTIONS.map(lambda into: {"$merge": into}),
)
PIPELINES = st.builds(
    lambda stages, last: [*stages, *last],
    NESTED,
    st.just([]) | st.just([]) | WRITERS.map(lambda stage: [stage]),
)

UPDATES = st.sampled_from([
    {"$set": {"a": 1}}, {"$set": {"app_id": "shop"}}, {"$setOnInsert": {"b": 1}}, {"a": 1}, {},
    {"app_id": "crm", "a": 1}, {"_id": 1, "app_id": ["crm", "shop"]}, [{"$set": {"app_id": "crm"}}],
    [{"$replaceWith": {"a": "$$ROOT"}}], {"$set": {"app_id": "crm"}}, {"$unset": {"app_id": 1}},
    {"$set": {"app_id": list("shop")}}, {"$rename": {"a": "app_id"}},
])  # fmt: skip
STORED = st.dictionaries(st.sampled_from(["_id", "app_id", "a", "crm_tasks"]), VALUES, max_size=3)


def _some(fields: Tree) -> Tree:
    return {name: value for name, value in fields.items() if value is not None}


def _statement(query: Tree, update: Any, collation: Any, *, upsert: bool, multi: bool) -> Tree:
    return _some(
        {"q": query, "u": update, "collation": collation, "upsert": upsert, "multi": multi}
    )


_UPDATE = st.builds(
    _statement, FILTERS, UPDATES, COLLATIONS, upsert=st.booleans(), multi=st.booleans()
)
_DELETE = st.builds(
    lambda q, limit, c: _some({"q": q, "limit": limit, "collation": c}),
    FILTERS,
    st.integers(0, 1),
    COLLATIONS,
)


def _command(name: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Tree]:
    names = (name, *fields, "$db")
    values = st.tuples(COLLECTIONS, *fields.values(), DATABASES)
    return values.map(lambda found: _some(dict(zip(names, found, strict=True))))


AGGREGATES = _command("aggregate", pipeline=PIPELINES, cursor=st.just({}), collation=COLLATIONS)
_EXPLAINABLE = st.one_of(
    _command("find", filter=st.none() | FILTERS, collation=COLLATIONS),
    _command("count", query=st.none() | FILTERS, collation=COLLATIONS),
    _command("distinct", key=FIELDS, query=st.none() | FILTERS, collation=COLLATIONS),
    AGGREGATES,
    _command("update", updates=st.lists(_UPDATE, min_size=1, max_size=3), ordered=st.booleans()),
    _command("delete", deletes=st.lists(_DELETE, min_size=1, max_size=3), ordered=st.booleans()),
    _command(
        "findAndModify",
        query=st.none() | FILTERS,
        update=UPDATES,
        upsert=st.booleans(),
        collation=COLLATIONS,
    ),
    _command("findandmodify", query=FILTERS, remove=st.just(True)),
)
COMMANDS = st.one_of(
    _EXPLAINABLE,
    _EXPLAINABLE,
    _command("insert", documents=st.lists(STORED, max_size=3), ordered=st.booleans()),
    _command("create"),
    _command("createIndexes", indexes=st.just([{"key": {"a": 1}, "name": "a_1"}])),
    _command("drop"),
    _command("dropIndexes", index=st.just("*")),
    _command("listIndexes"),
    _EXPLAINABLE.map(lambda inner: {"explain": inner, "$db": inner["$db"]}),
    st.builds(lambda p, d: {"aggregate": 1, "pipeline": p, "cursor": {}, "$db": d}, PIPELINES,
              DATABASES),
)  # fmt: skip
"""Most of them are refused; what is not must stay in its place."""
