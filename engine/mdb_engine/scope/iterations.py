"""How much work and memory one expression may take: a single one cannot be interrupted.

Measured on 6.0.5: three nested `$reduce` ran 11.6 s under `maxTimeMS: 500`; an array that doubles
in each round, or 300 references to 300 references to ... through `$let`, ended the server.

An expression has a `Size`: how many times the document, a constant or the result so far of a
`$reduce` can stand in its value. Sizes are bounded; a `$reduce` may hold its own result once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from mdb_engine.exceptions import QueryValidationError
from mdb_engine.rawbson import Array, Document
from mdb_engine.scope.model import Limits, Where

MAX_SIZE: Final = 1_000
MAX_COPIES: Final = 200
MAX_CONSTANTS: Final = 1_000_000

ITERATIONS: Final[Mapping[str, str]] = {"$filter": "cond", "$map": "in", "$reduce": "in"}
"""Operator -> the member that is evaluated once per element."""

COPYING: Final = frozenset({"$concat", "$concatArrays", "$setUnion", "$zip"})
"""Operators that write their operands out again, one behind the other."""

CHOOSING: Final = frozenset({"$cond", "$ifNull", "$max", "$min", "$switch"})
SCALAR: Final = frozenset({
    "$abs", "$add", "$allElementsTrue", "$and", "$anyElementTrue", "$avg", "$binarySize",
    "$bsonSize", "$ceil", "$cmp", "$dateDiff", "$dateToString", "$divide", "$eq", "$exp", "$floor",
    "$gt", "$gte", "$in", "$indexOfArray", "$indexOfBytes", "$indexOfCP", "$isArray", "$isNumber",
    "$ln", "$log", "$log10", "$lt", "$lte", "$mod", "$multiply", "$ne", "$not", "$or", "$pow",
    "$regexMatch", "$round", "$setEquals", "$setIsSubset", "$size", "$sqrt", "$strLenBytes",
    "$strLenCP", "$strcasecmp", "$subtract", "$sum", "$toBool", "$toDate", "$toDecimal",
    "$toDouble", "$toInt", "$toLong", "$toObjectId", "$trunc", "$type",
})  # fmt: skip
"""Operators whose result is one small value, however much they read."""

WATCHED: Final = frozenset({
    *ITERATIONS, *COPYING, "$let", "$mergeObjects", "$range", "$replaceAll",
})  # fmt: skip
"""Without one of these an expression is as large as it is written."""

_BYTES: Final = 50
"""Of a constant that count as one element."""

_UNKNOWN_FACTOR: Final = 4

Key = tuple[int, str]
Size = Counter[Key]
"""What a value can hold: (number of the `$reduce`, member of its `$$value`) -> how often.

Number 0 is the document, CONSTANT what the client wrote.
"""

CONSTANT: Final[Key] = (-1, "")
_DOCUMENT: Final[Key] = (0, "")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an expression stands: bodies of iterations around it, `$reduce`s, variables."""

    limits: Limits
    where: Where
    level: int = 0
    reduces: int = 0
    variables: Mapping[str, Size] = field(default_factory=dict)
    accumulator: Size | None = None

    def at(self, step: str | int) -> _Place:
        return replace(self, where=self.where.at(step))

    def binding(self, variables: Mapping[str, Size]) -> _Place:
        return replace(self, variables={**self.variables, **variables})


def check_iterations(value: Any, limits: Limits, where: Where) -> None:
    """Refuse an expression whose work or memory is not bounded by its input.

    Raises:
        QueryValidationError: iterations nested too deep, a `$range` inside one or beyond its
            bounds, a `$reduce` that uses its own result more than once to build the next, or
            more references (variables written out) than a value may hold.
    """
    _size(value, _Place(limits, where))


def growth(value: Any, limits: Limits, where: Where) -> int:
    """How often the document may stand in a new one: once in each pipeline stage doubles it soon.

    >>> from mdb_engine.rawbson import encode
    >>> twice = Document(encode({"a": {"$concatArrays": ["$a", "$a"]}, "b": {"$add": ["$a", 1]}}))
    >>> growth(twice, Limits(), Where("aggregate", "shop"))
    2
    """
    if not isinstance(value, Document):
        return 1
    place = _Place(limits, where)
    whole = any(root in value.data for root in (b"$$ROOT", b"$$CURRENT"))
    sizes = (_given(_member(name, item, place)) for name, item in value.items())
    return max(1, max(sizes, default=0) + whole)


def check_growth(stages: Iterable[tuple[Any, Where]], limits: Limits) -> None:
    """Refuse stages of an update that could make a document many times larger, stage by stage.

    Raises:
        QueryValidationError: more than 200 times.
    """
    factor = 1
    for operand, where in stages:
        factor *= growth(operand, limits, where)
        if factor > MAX_COPIES:
            raise _exceeded(_Place(limits, where))


def _exceeded(place: _Place) -> QueryValidationError:
    return QueryValidationError("expression exceeds the iteration limit", str(place.where))


def _bounded(size: Size, place: _Place, most: int = MAX_SIZE) -> Size:
    constants = size[CONSTANT]
    if size.total() - constants > most or constants > MAX_CONSTANTS:
        raise _exceeded(place)
    return size


def _sum(sizes: Iterable[Size]) -> Size:
    total: Size = Counter()
    for size in sizes:
        total.update(size)
    return total


def _size(value: Any, place: _Place) -> Size:
    if isinstance(value, str):
        return _named(value, place)
    if not isinstance(value, Array | Document) or b"$" not in value.data:
        return _constant(value)
    if isinstance(value, Document):
        return _sum(_member(name, item, place.at(name)) for name, item in value.items())
    parts = _sum(_size(item, place.at(index)) for index, item in enumerate(value))
    parts[CONSTANT] += len(value)
    return parts


def _constant(value: Any, _place: _Place | None = None) -> Size:
    """What the client wrote, in elements: no document is opened for it."""
    if isinstance(value, str):
        return Counter({CONSTANT: len(value) // _BYTES})
    if isinstance(value, Array):
        return Counter({CONSTANT: max(len(value), len(value.data) // _BYTES)})
    return Counter({CONSTANT: len(value.data) // _BYTES} if isinstance(value, Document) else {})


def _named(text: str, place: _Place) -> Size:
    """A field path, a variable, or a text."""
    if not text.startswith("$"):
        return _constant(text)
    variable, _, path = (text[2:] if text.startswith("$$") else "CURRENT").partition(".")
    size = place.variables.get(variable, Counter({_DOCUMENT: 1}))
    if path and size is place.accumulator:
        # Members of the result so far are parts of it that do not overlap.
        part = path.partition(".")[0]
        return Counter({(number, part): 1 for number, _ in size})
    return size


def _member(name: str, value: Any, place: _Place) -> Size:
    if not name.startswith("$"):
        return _size(value, place)
    rule = _RULES.get(name, _size)
    size = _bounded(rule(value, place), place, MAX_COPIES if name in COPYING else MAX_SIZE)
    return Counter() if name in SCALAR else size


def _choice(value: Any, place: _Place) -> Size:
    """One of the operands: as much as any of them holds."""
    size: Size = Counter()
    for item, here in _choices(value, place):
        size |= _size(item, here)
    return size


def _choices(value: Any, place: _Place) -> Iterator[tuple[Any, _Place]]:
    if isinstance(value, Array):
        yield from ((item, place.at(index)) for index, item in enumerate(value))
    elif isinstance(value, Document):
        for name, item in value.items():
            deeper = name == "branches" and isinstance(item, Array)
            yield from _choices(item, place.at(name)) if deeper else ((item, place.at(name)),)
    else:
        yield value, place


def _let(value: Any, place: _Place) -> Size:
    if not isinstance(value, Document) or not isinstance(value.get("vars"), Document):
        return _size(value, place)
    here = place.at("vars")
    variables = {n: _bounded(_size(v, here.at(n)), here) for n, v in value["vars"].items()}
    return _size(value.get("in"), place.at("in").binding(variables))


def _filter(value: Document, items: Size, place: _Place) -> Size:
    _size(value.get("limit"), place.at("limit"))
    _size(value.get("cond"), _body(value, items, place.at("cond")))
    return items


def _map(value: Document, items: Size, place: _Place) -> Size:
    return _repeated(items, _size(value.get("in"), _body(value, items, place.at("in"))))


def _body(value: Document, items: Size, place: _Place) -> _Place:
    """Inside the part of an iteration that runs once per element."""
    name = value.get("as", "this")
    element: Size = Counter({_DOCUMENT: 1} if _given(items) else {})
    inner = place.binding({name if isinstance(name, str) else "this": element})
    return replace(inner, level=place.level + 1)


def _given(items: Size) -> int:
    return items.total() - items[CONSTANT]


def _reduce(value: Document, items: Size, place: _Place) -> Size:
    start = _size(value.get("initialValue"), place.at("initialValue"))
    number = place.reduces + 1
    result: Size = Counter({(number, ""): 1})
    inner = _body(value, items, place.at("in")).binding({"value": result})
    inner = replace(inner, reduces=number, accumulator=result)
    body = _size(value.get("in"), inner)
    own = {part: count for (origin, part), count in body.items() if origin == number}
    if own.pop("", 0) + max(own.values(), default=0) > 1:
        raise _exceeded(inner)
    rest = Counter({key: count for key, count in body.items() if key[0] != number})
    return _sum((start, _repeated(items, rest)))


def _repeated(items: Size, body: Size) -> Size:
    """The bodies of all elements together.

    What grows with each element of a document is part of the document, so it counts as such;
    the result so far of a `$reduce` further out would double with each of its own rounds.
    """
    rounds, factor = items[CONSTANT], max(1, body.total())
    size: Size = Counter({CONSTANT: rounds * (1 + body[CONSTANT])})
    for key, count in items.items():
        if key != CONSTANT:
            size[key] += count * factor * (2 if key[0] else 1)
    for key, count in body.items():
        if key != CONSTANT:
            size[key] += count * (2 if key[0] else rounds)
    return size


def _iteration(rule: Callable[[Document, Size, _Place], Size]) -> Callable[[Any, _Place], Size]:
    def apply(value: Any, place: _Place) -> Size:
        if not isinstance(value, Document):
            return _size(value, place)
        if place.level >= place.limits.max_iteration_nesting:
            raise _exceeded(place)
        return rule(value, _size(value.get("input"), place.at("input")), place)

    return apply


def _range(value: Any, place: _Place) -> Size:
    bounds = list(value) if isinstance(value, Array) else []
    whole = all(isinstance(b, int | float) and not isinstance(b, bool) for b in bounds)
    if place.level or not whole or len(bounds) not in (2, 3):
        raise _exceeded(place)
    start, end, step = (*bounds, 1)[:3]
    count = abs((end - start) / step) if step else float("inf")
    # Not a number fails this comparison too.
    if not count <= place.limits.max_range:
        raise _exceeded(place)
    return Counter({CONSTANT: int(count) + 1})


def _replace_all(value: Any, place: _Place) -> Size:
    """Each match of `find` can become longer."""
    if not isinstance(value, Document):
        return _size(value, place)
    sizes = {name: _size(item, place.at(name)) for name, item in value.items()}
    factor = _longer(value.get("find"), value.get("replacement"))
    text = sizes.pop("input", Counter())
    return _sum((*sizes.values(), Counter({key: n * factor for key, n in text.items()})))


def _longer(find: Any, replacement: Any) -> int:
    texts = (find, replacement)
    if any(not isinstance(text, str) or text.startswith("$") for text in texts):
        return _UNKNOWN_FACTOR
    return max(1, -(-len(replacement) // max(1, len(find))))


_RULES: Final[Mapping[str, Callable[[Any, _Place], Size]]] = {
    "$const": _constant,
    "$filter": _iteration(_filter),
    "$let": _let,
    "$literal": _constant,
    "$map": _iteration(_map),
    "$range": _range,
    "$reduce": _iteration(_reduce),
    "$replaceAll": _replace_all,
    **dict.fromkeys(CHOOSING, _choice),
}
"""Operators whose value is not simply what their operands hold together."""
