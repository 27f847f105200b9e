"""Python's values and the kernel's: a logical command as checked bytes, its parts for the driver.

What is looked at are the bytes that would be sent: what a tuple, a subclass of dict or a raw
document looks like to Python does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from bson.son import SON

from mdb_engine.exceptions import QueryValidationError
from mdb_engine.rawbson import Array, Document, Raw, check, encode, walk

Codec = CodecOptions[Any]
UNSET: Final = None
"""An option that the caller left out is not written into the command."""

_LOSSLESS: Final[Codec] = CodecOptions(document_class=SON, tz_aware=True)


def logical(fields: Mapping[str, Any], codec: Codec) -> Document:
    """A logical command as the kernel reads it; members that are None are left out.

    Raises:
        InvalidDocument: something that has no BSON form. InvalidBSONError: a raw document whose
        bytes are not one.
    """
    given = {name: value for name, value in fields.items() if value is not UNSET}
    document = Document(bson.encode(given, codec_options=codec))
    check(document.data)
    return document


def document(value: Any, codec: Codec) -> Document:
    """One document to store, as bytes, its `_id` first.

    Raises:
        TypeError: not a document. InvalidDocument, InvalidBSONError: as `logical`.
    """
    if not isinstance(value, Mapping):
        msg = f"a document must be a mapping, not {type(value).__name__}"
        raise TypeError(msg)
    found = Document(bson.encode(value, codec_options=codec))
    check(found.data)
    return found


def handed(value: Any) -> Any:
    """A part of a physical command for PyMongo's methods: documents stay the very bytes."""
    if isinstance(value, Mapping):
        return RawBSONDocument(encode(value))
    # A Raw is a tuple too.
    if isinstance(value, Raw):
        return _driver(value)
    if isinstance(value, Array | list | tuple):
        return [handed(item) for item in value]
    return value


def _driver(value: Raw) -> Any:
    return bson.decode(encode({"": value}), codec_options=_LOSSLESS)[""]


def ordered(value: Any) -> Any:
    """A short document of options (sort, hint, collation) as Python's, in its order."""
    if isinstance(value, Mapping):
        return dict(bson.decode(encode(value), codec_options=_LOSSLESS))
    return handed(value)


def pairs(value: Any) -> Any:
    """A sort order or an index bound as PyMongo wants it; None stays None."""
    return list(ordered(value).items()) if value is not None else None


def hint(value: Any) -> Any:
    """An index by name, or by its keys."""
    return value if value is None or isinstance(value, str) else pairs(value)


def keys(value: Any) -> Any:
    """What a caller gives as sort order, hint or index keys: a name, pairs or a document.

    >>> keys([("done", 1), "title"])
    {'done': 1, 'title': 1}
    """
    if value is None or isinstance(value, Mapping):
        return value
    if isinstance(value, str):
        return {value: 1}
    if not isinstance(value, Iterable):
        msg = "keys are a name, a list of (name, direction) pairs or a document"
        raise TypeError(msg)
    found: dict[str, Any] = {}
    for item in value:
        name, direction = (item, 1) if isinstance(item, str) else item
        found[name] = direction
    return found


def hinted(value: Any) -> Any:
    """A hint as the command spells it: an index's name stays a name."""
    return value if isinstance(value, str) else keys(value)


def order(key_or_list: Any, direction: Any = None) -> Any:
    """The arguments of `sort()` as one document."""
    if direction is not None:
        return {key_or_list: direction}
    return keys(key_or_list)


def projected(value: Any) -> Any:
    """A projection: a document, or names to show."""
    if value is None or isinstance(value, Mapping):
        return value
    if isinstance(value, str) or not isinstance(value, Iterable):
        msg = "a projection is a document or a list of names"
        raise TypeError(msg)
    return dict.fromkeys(value, 1) or {"_id": 1}


def collated(value: Any) -> Any:
    """A collation as its document; PyMongo's Collation holds one."""
    return value if value is None or isinstance(value, Mapping) else value.document


def stages(value: Any) -> list[Any]:
    """A pipeline; PyMongo takes lists only, we any sequence.

    Raises:
        TypeError: not a sequence.
    """
    if type(value) is list:
        return value.copy()
    if isinstance(value, Mapping | str | bytes) or not isinstance(value, Sequence):
        msg = "a pipeline must be a list of stages"
        raise TypeError(msg)
    return list(value)


def check_operators(update: Any, codec: Codec, *, wanted: bool) -> None:
    """An update has operators (or is a pipeline), a replacement has none.

    Raises:
        QueryValidationError: the other kind. TypeError: neither.
    """
    if not isinstance(update, Mapping | list | tuple):
        msg = f"an update is a document or a pipeline, not {type(update).__name__}"
        raise TypeError(msg)
    if isinstance(update, Mapping):
        first = next(walk(bson.encode(update, codec_options=codec)), None)
        has = first is not None and first.name.startswith(b"$")
    else:
        has = True
    if wanted and not has:
        msg = "update only works with $ operators"
        raise QueryValidationError(msg, "update")
    if not wanted and (has or not isinstance(update, Mapping)):
        msg = "replacement can not include $ operators"
        raise QueryValidationError(msg, "replacement")
