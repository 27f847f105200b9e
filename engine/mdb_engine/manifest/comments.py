"""JSON as people write it: `//` and `/* */` comments are blanked, so that positions stay true."""

import json
import re
from typing import Any, Final

from mdb_engine.exceptions import ManifestValidationError

_TOKEN: Final = re.compile(
    r"""(?P<string>"(?:[^"\\\n]|\\.)*") | //[^\n]* | (?P<block>/\*.*?(?:\*/|\Z))""",
    re.DOTALL | re.VERBOSE,
)


def strip_comments(text: str) -> str:
    """The same text with spaces where comments stood; line and column of the rest are kept.

    >>> strip_comments('{"a": "//x"} // y')
    '{"a": "//x"}     '

    Raises:
        ManifestValidationError: a `/*` has no end.
    """
    return _TOKEN.sub(_blank, text)


def _blank(match: re.Match[str]) -> str:
    found = match[0]
    if match["string"] is not None:
        return found
    if match["block"] is not None and (len(found) < len("/**/") or not found.endswith("*/")):
        line = match.string.count("\n", 0, match.start()) + 1
        raise ManifestValidationError(f"the comment that begins in line {line} does not end")
    return re.sub(r"[^\n]", " ", found)


def read_json(text: str) -> Any:
    """The value of a JSON text with comments.

    Raises:
        ManifestValidationError: not JSON, a key stands twice in one object, or a number is not
            one that JSON knows.
    """
    try:
        return json.loads(
            strip_comments(text), object_pairs_hook=_object, parse_constant=_refuse_constant
        )
    except json.JSONDecodeError as error:
        reason = f"not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        raise ManifestValidationError(reason) from None
    except ManifestValidationError:
        raise
    except ValueError:
        raise ManifestValidationError("a number has too many digits") from None
    except RecursionError:
        raise ManifestValidationError("the text is nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ManifestValidationError(f"the key '{key}' stands twice in one object")
        found[key] = value
    return found


def _refuse_constant(name: str) -> Any:
    raise ManifestValidationError(f"{name} is not a JSON number")
