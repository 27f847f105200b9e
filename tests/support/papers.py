"""Prints docs/errors.md and docs/compatibility.md from the tables; a test compares.

`python -m tests.support.papers` writes both files.
"""

import inspect
from pathlib import Path

from mdb_engine import exceptions
from mdb_engine.exceptions import MongoDBEngineError, RefusedError
from mdb_engine.scope.commands import COMMANDS
from mdb_engine.scope.denied import DENIED, DENIED_PREFIXES
from mdb_engine.scope.stages import DENIED_STAGES, STAGES
from mdb_engine.scope.updates import UPDATE_OPERATORS
from mdb_engine.scope.walk import EXPRESSION_OPERATORS, FORBIDDEN_OPERATORS, MATCH_OPERATORS
from mdb_proxy.holds import TENANT_COMMANDS
from mdb_proxy.local import LOCAL
from mdb_proxy.sasl import COMMANDS as SASL

DOCS = Path(__file__).parents[2] / "docs"
WIDTH = 100


def first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def wrapped(names: list[str]) -> str:
    lines = [""]
    for name in sorted(names):
        word = f"`{name}`"
        if lines[-1] and len(lines[-1]) + len(word) >= WIDTH:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)


def errors() -> str:
    """Give docs/errors.md."""
    found = [
        kind
        for _, kind in inspect.getmembers(exceptions, inspect.isclass)
        if issubclass(kind, MongoDBEngineError)
    ]
    refused = [kind for kind in found if issubclass(kind, RefusedError)]
    rows = [
        f"| {kind.code} | {kind.code_name} | `{kind.__name__}` | {kind.http_status} |"
        f" {first_line(kind)} |"
        for kind in sorted(refused, key=lambda kind: (kind.code, kind.__name__))
    ]
    others = [
        f"| `{kind.__name__}` | {first_line(kind)} |" for kind in found if kind not in refused
    ]
    return "\n".join(
        [
            "# Errors",
            "",
            "What the rules refuse. The proxy answers with code and name, and the field `at` says",
            "where in the command; Python raises the type; HTTP answers the status. Errors of the",
            "cluster itself keep their own code, only names in their texts are translated.",
            "",
            "| code | name | Python | HTTP | meaning |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "The other errors of the project:",
            "",
            "| Python | meaning |",
            "|---|---|",
            *others,
            "",
        ]
    )


def compatibility() -> str:
    """Give docs/compatibility.md."""
    forwarded = [name for name, row in COMMANDS.items() if not row.plan]
    planned = [name for name, row in COMMANDS.items() if row.plan]
    answered = [*LOCAL, *SASL, "startSession", *TENANT_COMMANDS]
    parts = {
        "Commands that are rewritten and forwarded": forwarded,
        "Commands that take several exchanges": planned,
        "Commands of logins, sessions, cursors, and what we answer ourselves": list(set(answered)),
        "Commands that exist, but not for tenants (13)": list(DENIED),
        "... and every command that begins so": list(DENIED_PREFIXES),
        "Aggregation stages": list(STAGES),
        "Stages that exist, but not for tenants (13); every other stage is unknown (40324)": list(
            DENIED_STAGES
        ),
        "Update operators": list(UPDATE_OPERATORS),
        "Query operators that are looked into, or known to be data": list(MATCH_OPERATORS),
        "Expression operators with a rule of their own (all others are walked)": list(
            EXPRESSION_OPERATORS
        ),
        "Operators that nobody may use (2), besides all that begin `$_` or `$internal`": list(
            FORBIDDEN_OPERATORS
        ),
    }
    sections = [f"## {title}\n\n{wrapped(names)}\n" for title, names in parts.items()]
    head = (
        "# Compatibility\n\nPrinted from the tables of the kernel and the proxy. A command that"
        " stands nowhere here does not exist (59).\n"
    )
    return "\n".join([head, *sections])


PAPERS = {"compatibility.md": compatibility, "errors.md": errors}

if __name__ == "__main__":
    for name, text in PAPERS.items():
        (DOCS / name).write_text(text(), encoding="utf-8")
