"""ALLOWED: differences that docs/differences.md justifies, each as narrow as it can be told."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.support.twins import Difference

Allows = Callable[[Difference], bool]

_LIMIT: Final = re.compile(
    "(?:query|pipeline|regular expression|expression) exceeds the (?:maximum|iteration)"
)
_TAG: Final = re.compile(r'app_id: "lab"(?:, )?')
_QUERY: Final = re.compile(r"error processing query: ns=.*\nProj: [^\n]*\n", re.DOTALL)
_NOT_OURS: Final = ("a..b", "$bad")
"""Names of workloads that the server takes, or refuses in other words elsewhere."""

_LOOSE: Final = frozenset({
    "collStats", "collstats", "convertToCapped", "dataSize", "dbStats", "findAndModify",
    "findandmodify", "validate",
})  # fmt: skip
"""Commands that pass over fields, or some fields, that they do not know (6.0.5)."""


def name(difference: Difference) -> str:
    """Give the command's name."""
    return next(iter(difference.step.command))


def refused_by_both(difference: Difference) -> bool:
    return not difference.private.get("ok") and not difference.ours.get("ok")


def _error(reply: Mapping[str, Any]) -> str:
    return str(reply.get("errmsg", ""))


def limits(difference: Difference) -> bool:
    return "at" in difference.ours and _LIMIT.match(_error(difference.ours)) is not None


def planner(difference: Difference) -> bool:
    """The same error, behind the query that was planned."""
    private, ours = (_error(r) for r in (difference.private, difference.ours))
    behind = [_QUERY.sub("", text) for text in (private, ours)]
    return behind[0] == behind[1] and _QUERY.match(private) is not None


def several_mistakes(difference: Difference) -> bool:
    return refused_by_both(difference) and difference.step.mistakes > 1


def elided(difference: Difference) -> bool:
    """The same code and text, but for what is written `{...}`."""
    private, ours = difference.private, difference.ours
    if private.get("code") != ours.get("code") or "at" not in ours:
        return False
    pattern = re.escape(_error(ours))
    for short in ("{...}", "[...]"):
        pattern = pattern.replace(re.escape(short), ".*")
    return re.fullmatch(pattern, _error(private), re.DOTALL) is not None


def unknown_fields(difference: Difference) -> bool:
    return name(difference) in _LOOSE and difference.ours.get("code") == 40415


def names(difference: Difference) -> bool:
    ours = difference.ours
    return difference.step.command[name(difference)] in _NOT_OURS and ours.get("code") == 73


def forbidden(difference: Difference) -> bool:
    text = "$where is not allowed in this context"
    return "at" in difference.ours and _error(difference.ours) == text


def explained(difference: Difference) -> bool:
    both = (difference.private, difference.ours)
    return name(difference) == "explain" and all(r.get("ok") for r in both)


def stored_text(difference: Difference) -> bool:
    """The same, where a text shows the stored document, tag included."""
    return _without_tag(difference.ours) == _without_tag(difference.private)


def _without_tag(value: Any) -> Any:
    if isinstance(value, dict):
        return {n: _without_tag(v) for n, v in value.items() if n not in CLOCKLIKE}
    if isinstance(value, list):
        return [_without_tag(item) for item in value]
    return _TAG.sub("", value) if isinstance(value, str) else value


CLOCKLIKE: Final = frozenset({"$clusterTime", "operationTime", "opTime", "electionId"})

ALLOWED: Final[Mapping[str, Allows]] = {
    "limits of one query": limits,
    "several mistakes in one command": several_mistakes,
    "texts of planner errors, `explain`": lambda d: planner(d) or explained(d),
    "texts that repeat an operand": elided,
    "texts that show a stored document": stored_text,
    "names of collections": names,
    "fields that a command does not know": unknown_fields,
    "a batch with a forbidden operator": forbidden,
    "`getLastError`": lambda d: name(d) == "getLastError",
}
"""Row of docs/differences.md -> whether it is what is seen."""


def allowed(difference: Difference) -> str:
    """Give the row that allows a difference; "" when none does."""
    return next((row for row, allows in ALLOWED.items() if allows(difference)), "")
