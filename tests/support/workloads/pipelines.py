"""STAGES: pipelines of every stage, with joins in all forms."""

from collections.abc import Sequence
from typing import Any, Final

from tests.support.comparing import moment
from tests.support.workloads.dice import Dice, Made
from tests.support.workloads.expressions import boolean, computed, expression, name, numeric
from tests.support.workloads.filters import condition
from tests.support.workloads.updates import PIPELINES as UPDATE_PIPELINES
from tests.support.workloads.updates import projection
from tests.support.workloads.values import field, small, value, word

COLLECTIONS: Final = ("t", "u", "w.x", "nope")
SOURCES: Final = ((80, "t"), (50, "u"), (30, "w.x"), (10, "nope"), (10, "vw"), (4, "vw2"), (2, "v"))
"""What commands are about; the last ones are views, where they are anything."""

BY_ID: Final = {"$sort": {"_id": 1}}

ACCUMULATORS: Final[Sequence[Made]] = (
    lambda d: {d.pick(("$sum", "$avg", "$max", "$min")): numeric(d)},
    lambda d: {d.pick(("$first", "$last")): expression(d)},
    lambda d: {"$push": expression(d)},
    lambda d: {"$push": "$$ROOT"},
    lambda d: {"$count": {}},
    lambda d: {"$sum": 1},
    lambda d: {"$mergeObjects": "$sub"},
    lambda d: {d.pick(("$stdDevPop", "$stdDevSamp")): "$g"},
    lambda d: {"$top": {"output": ["$_id", "$n"], "sortBy": {"_id": -1}}},
    lambda d: {"$firstN": {"n": 2, "input": "$s"}},
    lambda d: d.wrong((lambda _: {"$bogus": 1},)),
)


def collection(dice: Dice) -> str:
    return dice.weighted(SOURCES)


def lookup(dice: Dice) -> dict[str, Any]:
    spec: dict[str, Any] = {"from": collection(dice), "as": dice.pick(("j", "j", "j.k"))}
    form = dice.number(0, 2)
    if form != 1:
        spec |= {"localField": field(dice), "foreignField": dice.pick(("_id", "n", "g", "t"))}
    if form:
        pipeline = joined(dice)
        spec["pipeline"] = pipeline
        if dice.chance(0.6):
            spec["let"] = {"v": expression(dice)}
            spec["pipeline"] = [{"$match": {"$expr": {"$eq": ["$n", "$$v"]}}}, *pipeline]
    return {"$lookup": spec}


def graph(dice: Dice) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "from": collection(dice),
        "startWith": dice.pick(("$n", "$g", "$t", "$_id")),
        "connectFromField": dice.pick(("g", "n", "t")),
        "connectToField": dice.pick(("n", "_id")),
        "as": "j",
    }
    spec |= dice.maybe(
        0.4,
        maxDepth=lambda d: d.number(0, 2),
        depthField=lambda d: "deep",
        restrictSearchWithMatch=condition,
    )
    return {"$graphLookup": spec}


def union(dice: Dice) -> dict[str, Any]:
    kinds: Sequence[Made] = (
        collection,
        lambda d: {"coll": collection(d)},
        lambda d: {"coll": collection(d), "pipeline": joined(d)},
        lambda d: {"pipeline": [{"$documents": [{"_id": 1000, "n": small(d)}]}]},
    )
    return {"$unionWith": dice.make(kinds)}


def joined(dice: Dice) -> list[Any]:
    """Give a short pipeline that is run inside another one, in an order that is its own."""
    return ordered([BY_ID, *dice.many(lambda d: d.make(INNER), 2)])


def group(dice: Dice) -> dict[str, Any]:
    spec: dict[str, Any] = {"_id": dice.pick(("$g", "$n", None, "$s", {"a": "$g", "b": "$a"}))}
    if dice.chance(0.2):
        spec["_id"] = expression(dice)
    for one in dice.some(("x", "y", "z"), 2):
        spec[one] = dice.make(ACCUMULATORS)
    return {"$group": spec}


def windows(dice: Dice) -> dict[str, Any]:
    window = dice.pick(({"documents": ["unbounded", "current"]}, {"documents": [-1, 1]}, None))
    made = dice.pick(({"$sum": "$g"}, {"$push": "$_id"}, {"$max": "$n"}, {"$first": "$s"}))
    made = {**made, "window": window} if window else made
    output = dice.pick((made, {"$documentNumber": {}}, {"$rank": {}}, {"$shift": {
        "output": "$_id", "by": -1, "default": None}}))  # fmt: skip
    spec: dict[str, Any] = {"sortBy": {"_id": 1}, "output": {dice.pick(("q", "n", "r.s")): output}}
    return {"$setWindowFields": {**dice.maybe(0.4, partitionBy=lambda d: "$g"), **spec}}


def bucket(dice: Dice) -> dict[str, Any]:
    if dice.chance(0.4):
        return {"$bucketAuto": {"groupBy": "$g", "buckets": dice.number(1, 3)}}
    spec: dict[str, Any] = {"groupBy": dice.pick(("$n", "$g")), "boundaries": [0, 2, 5, 20]}
    return {"$bucket": {**spec, **dice.maybe(0.8, default=lambda d: "other"), **dice.maybe(
        0.5, output=lambda d: {"x": d.make(ACCUMULATORS)})}}  # fmt: skip


def densify(dice: Dice) -> dict[str, Any]:
    bounds = dice.pick(("full", [0, 6], "partition"))
    spec: dict[str, Any] = {"field": "g", "range": {"step": 1, "bounds": bounds}}
    if bounds == "partition" or dice.chance(0.2):
        spec["partitionByFields"] = ["s"]
    return {"$densify": spec}


def fill(dice: Dice) -> dict[str, Any]:
    method = dice.pick(({"value": small(dice)}, {"method": "locf"}, {"value": expression(dice)}))
    return {"$fill": {"sortBy": {"_id": 1}, "output": {dice.pick(("m", "n", "q")): method}}}


def facet(dice: Dice) -> dict[str, Any]:
    branches = {
        name: ordered(dice.many(lambda d: d.make(INNER), 2, 1))
        for name in dice.some(("f", "h"), 2, 1)
    }
    return {"$facet": branches}


def shown(dice: Dice) -> Any:
    """Give the projection of a stage, where nothing is a mistake."""
    found = projection(dice)
    only_find = (".$'", "$elemMatch", "$slice", "$meta")
    dice.mistakes += not found or any(part in str(found) for part in only_find)
    return found


INNER: Final[Sequence[Made]] = (
    lambda d: {"$match": condition(d)},
    lambda d: {"$match": {"$expr": boolean(d)}},
    lambda d: {d.pick(("$set", "$addFields")): {name(d): computed(d)}},
    lambda d: {"$project": shown(d)},
    lambda d: {"$project": {"n": 1, name(d): computed(d)}},
    lambda d: {"$unset": d.pick(("n", ["s", "t"], "sub.y.z"))},
    lambda d: {"$limit": d.number(1, 4)},
    lambda d: {"$skip": d.number(0, 3)},
    lambda d: {"$unwind": d.pick(("$t", "$items", {"path": "$t", "preserveNullAndEmptyArrays": True,
                                                  "includeArrayIndex": "i"}))},
    lambda d: {"$replaceRoot": {"newRoot": d.pick(("$sub", {"n": "$n"}, {"whole": "$$ROOT"}))}},
    lambda d: {"$replaceWith": {"$mergeObjects": [{"d": 1}, "$sub"]}},
    lambda d: {"$redact": {"$cond": [boolean(d), d.pick(("$$KEEP", "$$DESCEND")), "$$PRUNE"]}},
    lambda d: {"$count": "c"},
    group,
    bucket,
    windows,
)  # fmt: skip
OUTER: Final[Sequence[Made]] = (
    *INNER, *INNER, lookup, lookup, lookup, graph, graph, union, union, facet, densify, fill,
    lambda d: {"$sortByCount": d.pick(("$g", "$s", expression(d)))},
    lambda d: {"$sort": {"n": d.pick((1, -1)), "_id": 1}},
    lambda d: {"$sample": {"size": 100}},
)  # fmt: skip
WRONG: Final[Sequence[Made]] = (
    lambda d: {"$bogus": 1},
    lambda d: {},
    lambda d: {"$match": {}, "$limit": 1},
    lambda d: {"$match": 5},
    lambda d: {"$limit": d.pick((0, -1, "x", 1.5))},
    lambda d: {"$skip": d.pick((-1, "x"))},
    lambda d: {"$project": d.pick(({}, 5, {"a": 1, "b": 0}))},
    lambda d: {"$group": d.pick(({}, 5, {"a": 1}, {"_id": 1, "x": 5},
                                 {"_id": 1, "x.y": {"$sum": 1}}))},
    lambda d: {"$sort": d.pick(({}, 5, {"a": 2}, {"a": "x"}))},
    lambda d: {"$unwind": d.pick(("t", 5, {}, {"path": 5}))},
    lambda d: {"$lookup": d.pick((5, {}, {"from": "t"}, {"from": 5}, {"from": "t", "as": "j"},
                                  {"from": "t", "as": "j", "localField": "a"},
                                  {"from": "t", "as": "j", "bogus": 1, "pipeline": []},
                                  {"from": "t", "as": "j", "pipeline": [{"$out": "x"}]},
                                  {"as": "j", "pipeline": []},
                                  {"from": "t", "as": 5, "pipeline": []}))},
    lambda d: {"$graphLookup": d.pick((5, {}, {"from": "t"}, {"from": 5}))},
    lambda d: {"$unionWith": d.pick((5, {}, {"coll": 5}, {"coll": "t", "bogus": 1}))},
    lambda d: {"$facet": d.pick((5, {}, {"a": 5}, {"a": [{"$out": "x"}]}, {"a.b": []}, {"a": []},
                                 {"a": [{"$facet": {"b": []}}]}))},
    lambda d: {"$out": d.pick((5, {}, ""))},
    lambda d: {"$merge": d.pick((5, {}, {"into": 5}, {"into": "x", "on": 5},
                                 {"into": "x", "whenMatched": "bogus"}))},
    lambda d: {"$count": d.pick((5, "", "$a", "a.b"))},
    lambda d: {"$sample": d.pick((5, {}, {"size": -1}, {"size": "x"}))},
    lambda d: {"$redact": 5},
    lambda d: {"$replaceRoot": d.pick((5, {}, {"newRoot": 5}))},
    lambda d: {"$addFields": d.pick((5, {}, {"a": 1, "a.b": 1}, {"$a": 1}))},
    lambda d: {"$unset": d.pick((5, [], "", [5]))},
    lambda d: {"$bucket": d.pick((5, {}, {"groupBy": "$n"},
                                  {"groupBy": "$n", "boundaries": [2, 1]}))},
    lambda d: {"$geoNear": d.pick((5, {}, {"near": [0, 0]}))},
    lambda d: {"$collStats": 5},
    lambda d: {"$indexStats": 5},
    lambda d: {"$documents": [{"a": 1}]},
    lambda d: {"$fill": d.pick((5, {}, {"output": {}}))},
    lambda d: {"$densify": d.pick((5, {}, {"field": "n"}))},
    lambda d: {"$setWindowFields": d.pick((5, {}, {"output": {"a": {"$bogus": 1}}}))},
    lambda d: 5,
)  # fmt: skip


def geo(dice: Dice) -> dict[str, Any]:
    near: Any = {"type": "Point", "coordinates": [dice.number(-3, 3), dice.number(-3, 3)]}
    spec = {"near": near, "distanceField": dice.pick(("q", "sub.far")), "key": "loc"}
    more = dice.maybe(0.3, query=condition, maxDistance=lambda d: 500_000, spherical=lambda d: True)
    return {"$geoNear": {**spec, **more}}


FIRST: Final[Sequence[tuple[int, Made]]] = (
    (20, lambda d: [BY_ID]),
    (8, lambda d: [{"$match": condition(d)}, BY_ID]),
    (3, lambda d: []),
    (1, lambda d: [geo(d)]),
    (1, lambda d: [{"$collStats": {"count": {}}}, {"$project": {"count": 1, "ns": 1}}]),
    (1, lambda d: [{"$indexStats": {}}, {"$project": {"name": 1, "key": 1, "spec": 1}}]),
    (1, lambda d: [{"$match": {"$text": {"$search": word(d)}}}, BY_ID]),
)

INTO: Final[Sequence[Made]] = (
    lambda d: d.pick(("o1", "o2", "u")) if d.chance(0.97) else "vw",
    lambda d: {"db": d.pick(("@home", "@other")), "coll": d.pick(("o1", "o2"))},
)
WRITERS: Final[Sequence[Made]] = (
    lambda d: {"$out": d.make(INTO)},
    lambda d: {"$merge": d.pick(("o1", "o2", "u"))},
    lambda d: {"$merge": d.wrong((INTO[1],))} if d.chance(0.1) else {"$merge": "o1"},
    lambda d: {"$merge": {"into": d.make(INTO), **d.maybe(
        0.5,
        whenMatched=lambda e: e.pick(("replace", "keepExisting", "merge", "fail")),
        whenNotMatched=lambda e: e.pick(("insert", "discard", "fail")))}},
    lambda d: {"$merge": {"into": d.make(INTO), "whenMatched": d.make(UPDATE_PIPELINES)}},
    lambda d: {"$merge": {"into": d.make(INTO), "let": {"v": expression(d)},
                          "whenMatched": [{"$set": {"q": "$$v", "r": "$$new"}}]}},
    lambda d: {"$merge": {"into": d.make(INTO), "on": d.pick(("_id", ["_id", "n"], "n"))}},
)  # fmt: skip


PLACED: Final = frozenset({
    "$changeStream", "$collStats", "$documents", "$geoNear", "$indexStats", "$merge", "$out",
})  # fmt: skip


def sorted_pipeline(dice: Dice) -> list[Any]:
    """Give a pipeline whose results come in an order of their own."""
    plain: Sequence[Made] = (
        lambda d: {"$match": condition(d)},
        lambda d: {"$set": {d.pick(("q", "n")): computed(d)}},
        lookup,
        lambda d: {"$project": {"n": 1, "q": computed(d)}},
    )
    return [BY_ID, *dice.many(lambda d: d.make(plain), 2)]


def pipeline(dice: Dice) -> list[Any]:
    """Give a pipeline."""
    stages = [*dice.weighted(FIRST)(dice), *dice.many(lambda d: d.make(OUTER), 3)]
    if dice.chance(0.1):
        stages.insert(dice.number(0, len(stages)), dice.wrong(WRONG))
        # One that has a place of its own may also be wrong where it stands.
        dice.mistakes += any(isinstance(s, dict) and PLACED & s.keys() for s in stages)
    return ordered(stages)


def ordered(stages: list[Any]) -> list[Any]:
    """Put a total order in front of what depends on one."""
    found: list[Any] = []
    for stage in stages:
        if isinstance(stage, dict) and {"$limit", "$skip"} & stage.keys():
            found.append(BY_ID)
        found.append(stage)
    return found


def writing_pipeline(dice: Dice) -> list[Any]:
    """Give a pipeline that ends by writing."""
    return [BY_ID, *dice.many(lambda d: d.make(INNER), 1), dice.make(WRITERS)]


def documents(dice: Dice) -> list[Any]:
    """Give a pipeline without a collection."""
    made = [{"_id": n, "n": small(dice), "d": moment(2020), "v": value(dice)} for n in range(3)]
    made = [{"$documents": [{**one, "v": {"$literal": one["v"]}} for one in made]}]
    return ordered([*made, *dice.many(lambda d: d.make(OUTER), 2)])
