"""Plans of commands that make, move or drop a definition of which the client's words are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from mdb_engine.rawbson import Document, encode
from mdb_engine.scope.joins import MAX_READS, behind, too_many_reads
from mdb_engine.scope.model import Scope, Where
from mdb_engine.scope.names import owner
from mdb_engine.scope.originals import STORE, every, moved, original
from mdb_engine.scope.replies import Asked, answer
from mdb_engine.scope.steps import FailedError, Part, drained, failed, identity, listed, step
from mdb_engine.scope.views import sources

_DUPLICATE_KEY: Final = 11000
_OTHER_IDENTITY: Final = 361
_CAPPED: Final = ("cappedMax", "cappedSize")
_DEFINING: Final = ("validator", "viewOn")
"""What a client's own words are kept of."""


def define(asked: Asked, _token: str) -> Part:
    """`create` and `collMod` of a view or a validator: the words are kept before the thing is.

    When the cluster says no, what was there before keeps its own words.
    """
    scope = asked.scope
    physical = yield from _fenced(asked)
    name = physical[asked.name]
    if not any(map(physical.get, _DEFINING)):
        return Document(answer((yield from _defined(physical)), asked))
    if isinstance(physical.get("viewOn"), str):
        yield from _check_reads(name, physical, asked)
    made = original(name, physical, asked.command)
    new = yield from _keep([made], scope)
    raw = yield from _defined(physical)
    if Document(raw).get("ok"):
        if not new:
            change = {"q": {"_id": made["_id"]}, "u": made}
            yield from _written({"update": STORE, "updates": [change]}, scope)
        yield from _forget([{**every(name), "$ne": made["_id"]}], scope)
    else:
        yield from _forget(new, scope)
    return Document(answer(raw, asked))


def _defined(physical: Mapping[str, Any]) -> Part:
    """The cluster's reply; what has another identity by now is not there any more."""
    raw = yield physical
    return _gone().reply if Document(raw).get("code") == _OTHER_IDENTITY else raw


def _gone() -> FailedError:
    return failed("ns does not exist", 26, "NamespaceNotFound")


def _fenced(asked: Asked) -> Part:
    """The command, about a collection: of a view no server may be asked to change the size.

    mongod 6.0.5 ends by a segmentation fault. What is a view may change at any moment, so the
    collection's identity goes along.
    """
    command = asked.physical.command
    option = next((name for name in _CAPPED if name in command), None)
    if option is None:
        return command
    item = yield from listed(command[asked.name], asked.scope)
    if not item:
        raise _gone()
    uuid = identity(item)
    if uuid is None:
        kind = "view" if item["type"] == "view" else "time-series collection"
        raise failed(f"option not supported on a {kind}: {option}", 72, "InvalidOptions")
    return {**command, "collectionUUID": uuid}


def _check_reads(name: str, physical: Mapping[str, Any], asked: Asked) -> Part:
    """Refuse a view with which any of the app's would read too much; the server looks late.

    Raises:
        QueryValidationError: more than MAX_READS.
    """
    scope = asked.scope
    command = {
        "listCollections": 1,
        "filter": {"type": "view", "name": {"$regex": f"^{scope.slug}_"}},
        "maxTimeMS": scope.limits.default_time_ms,
        "$db": scope.database,
    }
    items = yield from drained(command, "$cmd.listCollections")
    views = {
        item["name"]: sources(item["options"])
        for item in items
        if owner(item["name"], scope.slugs) == scope.slug
    }
    views[name] = sources(physical)
    if any(behind(view, views).total() > MAX_READS for view in views):
        raise too_many_reads(Where(asked.name, asked.db, path=("pipeline",)))


def rename(asked: Asked, _token: str) -> Part:
    """`renameCollection`: the words go along."""
    command = asked.physical.command
    source, target = (str(command[n]).partition(".")[2] for n in ("renameCollection", "to"))
    raw, copies = yield from _copied(asked, source, target)
    if Document(raw).get("ok"):
        kept = [copy["_id"] for copy in copies]
        yield from _forget([every(source), {**every(target), "$nin": kept}], asked.scope)
    return Document(answer(raw, asked))


def clone(asked: Asked, _token: str) -> Part:
    """`cloneCollectionAsCapped`: the copy has the validator too."""
    command = asked.physical.command
    target = command.get("toCollection")
    raw, _ = yield from _copied(asked, command[asked.name], target)
    return Document(answer(raw, asked))


def _copied(asked: Asked, source: str, target: Any) -> Part:
    """Run a command that gives the source's definition to the target; (reply, copied words)."""
    scope = asked.scope
    query = {"find": STORE, "filter": {"_id": every(source)}, **_common(scope)}
    found = yield from drained(query, STORE)
    copies = [moved(item, target) for item in found] if isinstance(target, str) else []
    new = yield from _keep(copies, scope)
    raw = yield asked.physical.command
    if not Document(raw).get("ok"):
        yield from _forget(new, scope)
    return raw, copies


def drop(asked: Asked, _token: str) -> Part:
    """`drop`: the words go too."""
    command = asked.physical.command
    raw = yield command
    if Document(raw).get("ok"):
        yield from _forget([every(command["drop"])], asked.scope)
    return Document(answer(raw, asked))


def forget_all(names: Iterable[str], scope: Scope) -> Part:
    """The words of collections that are no more."""
    yield from _forget([every(name) for name in names], scope)


def _keep(made: list[dict[str, Any]], scope: Scope) -> Part:
    """Insert what is not kept yet; gives the `_id`s that are new."""
    if not made:
        return []
    command = {"insert": STORE, "documents": made, "ordered": False, **_common(scope)}
    reply = yield from step(command)
    errors = reply.get("writeErrors", ())
    for error in errors:
        if error["code"] != _DUPLICATE_KEY:
            raise FailedError(_failed(error))
    known = {error["index"] for error in errors}
    return [item["_id"] for index, item in enumerate(made) if index not in known]


def _failed(error: Mapping[str, Any]) -> bytes:
    return encode({"ok": 0.0, "errmsg": error["errmsg"], "code": error["code"]})


def _forget(conditions: list[Any], scope: Scope) -> Part:
    if conditions:
        deletes = [{"q": {"_id": condition}, "limit": 0} for condition in conditions]
        yield from _written({"delete": STORE, "deletes": deletes}, scope)


def _written(command: Mapping[str, Any], scope: Scope) -> Part:
    """Tidy up. What stays behind is never shown, so a failure is not the client's."""
    yield {**command, **_common(scope)}


def _common(scope: Scope) -> dict[str, Any]:
    return {"maxTimeMS": scope.limits.definition_time_ms, "$db": scope.database}
