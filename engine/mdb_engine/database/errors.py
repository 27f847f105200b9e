"""Errors of the cluster: ours and PyMongo's at once, in the app's words."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import bson
from pymongo import errors

from mdb_engine.exceptions import MongoDBEngineError
from mdb_engine.rawbson import Document, encode
from mdb_engine.scope.texts import Words


def _twin(kind: type[errors.PyMongoError]) -> type[errors.PyMongoError]:
    """A class of the same name that is also a MongoDBEngineError."""
    text = f"{kind.__name__} of the cluster, in the app's words."
    return type(
        kind.__name__, (MongoDBEngineError, kind), {"__doc__": text, "__module__": __name__}
    )


TWINS: Final[Mapping[type[errors.PyMongoError], type[errors.PyMongoError]]] = {
    kind: _twin(kind)
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, errors.PyMongoError)
}
"""PyMongo's class -> the class that is raised here: both `except` habits work."""


def _bulk(kind: Any, error: Any, words: Words) -> errors.PyMongoError:
    made: errors.PyMongoError = kind(_details(error.details, words))
    return made


def _failure(kind: Any, error: Any, words: Words) -> errors.PyMongoError:
    # The driver's own text quotes the whole reply a second time behind this.
    text = str(error).partition(", full error: ")[0]
    details = _details(error.details, words)
    made: errors.PyMongoError = kind(words.text(text), error.code, details)
    return made


def _connection(kind: Any, error: Any, words: Words) -> errors.PyMongoError:
    text = words.text(str(error.args[0]) if error.args else "")
    made: errors.PyMongoError = kind(text, _details(error.details, words))
    return made


def _plain(kind: Any, error: Any, words: Words) -> errors.PyMongoError:
    made: errors.PyMongoError = kind(words.text(str(error)))
    return made


_MAKERS: Final[tuple[tuple[type, Callable[[Any, Any, Words], errors.PyMongoError]], ...]] = (
    (errors.BulkWriteError, _bulk),
    (errors.ClientBulkWriteException, _plain),
    (errors.OperationFailure, _failure),
    (errors.AutoReconnect, _connection),
    (errors.PyMongoError, _plain),
)
"""How each family is made anew; the first that fits."""


def _details(details: Any, words: Words) -> Any:
    """A reply without physical names; what is no document (a list of errors) goes."""
    if not isinstance(details, Mapping):
        return None
    found = dict(details)
    statements = [item.pop("op", None) for item in _items(found)]
    told = bson.decode(words.texts(Document(encode_reply(found))).data)
    for item, statement in zip(told.get("writeErrors", ()), statements, strict=False):
        if statement is not None:
            item["op"] = statement
    return told


def _items(details: dict[str, Any]) -> list[dict[str, Any]]:
    """The write errors of a reply, each a dict of its own."""
    found = [dict(item) for item in details.get("writeErrors", ())]
    if found:
        details["writeErrors"] = found
    return found


def encode_reply(details: Mapping[str, Any]) -> bytes:
    """The bytes of a reply that the driver has decoded; parts that have none are left out."""
    kept = {}
    for name, value in details.items():
        try:
            encode({name: value})
        except (bson.errors.BSONError, TypeError, OverflowError):
            continue
        kept[name] = value
    return bson.encode(kept)


def translated(error: errors.PyMongoError, words: Words) -> errors.PyMongoError:
    """The error for the app; labels are kept, transactions are retried by them."""
    kind = next(TWINS[base] for base in type(error).__mro__ if base in TWINS)
    make = next(maker for family, maker in _MAKERS if isinstance(error, family))
    made = make(kind, error, words)
    for label in error._error_labels:  # noqa: SLF001 - there is no public way to list them
        made._add_error_label(label)  # noqa: SLF001 - nor to add one
    return made


@contextmanager
def in_words(words: Words) -> Iterator[None]:
    """Whatever PyMongo raises inside comes out translated, without the original behind it."""
    try:
        yield
    except MongoDBEngineError:
        raise
    except errors.PyMongoError as error:
        raise translated(error, words) from None
