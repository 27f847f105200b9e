"""Session ids: whose they are, in what form they come, under what id they leave."""

from typing import Any
from uuid import UUID

import pytest
from bson import Binary, encode

from mdb_engine.exceptions import RefusedError
from mdb_engine.rawbson import Document
from mdb_proxy.lsids import MAX_SESSIONS, client_id, ids_in, lsid, mapped, random_uuid
from tests.support.talks import SECRET, decoded, lossless, wire_value

UUID1 = Binary.from_uuid(UUID(int=1))
RAW1 = UUID(int=1).bytes


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, None),
        ({"lsid": None}, None),
        ({"lsid": {"id": UUID1}}, RAW1),
    ],
)
def test_the_session_of_a_command(given: dict[str, Any], found: bytes | None) -> None:
    assert client_id(lossless({"ping": 1, **given})) == found


@pytest.mark.parametrize(
    ("given", "code", "at"),
    [
        (5, 2, "lsid"),
        ([], 2, "lsid"),
        ({}, 2, "lsid.id"),
        ({"id": "x"}, 2, "lsid.id"),
        ({"id": Binary(bytes(16), 0)}, 2, "lsid.id"),
        ({"id": Binary(bytes(15), 4)}, 2, "lsid.id"),
        ({"id": Binary(bytes(16), 3)}, 2, "lsid.id"),
        ({"id": UUID1, "uid": Binary(bytes(32))}, 72, "lsid.uid"),
        ({"txnNumber": 1, "id": UUID1}, 72, "lsid.txnNumber"),
        ({"id": UUID1, "txnUUID": UUID1}, 72, "lsid.txnUUID"),
    ],
)
def test_what_is_no_session(given: Any, code: int, at: str) -> None:
    with pytest.raises(RefusedError) as caught:
        client_id(lossless({"ping": 1, "lsid": given}))
    assert (caught.value.code, caught.value.at) == (code, at)


def test_ids_differ_by_app_user_client_and_secret() -> None:
    found = {
        mapped(client, app, user, secret)
        for client in (RAW1, bytes(16))
        for app, user in (("a", "bc"), ("ab", "c"), ("a", "c"))
        for secret in (SECRET, bytes(32))
    }
    assert len(found) == 12
    assert mapped(RAW1, "a", "c", SECRET) == mapped(RAW1, "a", "c", SECRET)


def test_ids_are_proper_uuids() -> None:
    for data in (mapped(RAW1, "shop", "shop", SECRET), random_uuid(b"\xff" * 16).data[5:]):
        assert UUID(bytes=data).version == 4
        assert UUID(bytes=data).variant == "specified in RFC 4122"
    document = decoded(lsid(RAW1).data)
    assert document == {"id": UUID(int=1)}


def test_several_ids() -> None:
    value = wire_value([{"id": UUID1}, {"id": Binary.from_uuid(UUID(int=2))}])
    assert ids_in(value, "endSessions") == [RAW1, UUID(int=2).bytes]
    assert ids_in(wire_value([]), "endSessions") == []


@pytest.mark.parametrize(
    ("value", "code", "at"),
    [
        (1, 2, "endSessions"),
        ("x", 2, "endSessions"),
        ({"id": UUID1}, 2, "endSessions"),
        (Binary(b"abc"), 2, "endSessions"),
        ([1], 2, "endSessions.0"),
        ([[]], 2, "endSessions.0"),
        ([{"id": UUID1}, {}], 2, "endSessions.1.id"),
        ([{"id": UUID1, "uid": 1}], 40415, "endSessions.0.uid"),
    ],
)
def test_what_are_no_ids(value: Any, code: int, at: str) -> None:
    with pytest.raises(RefusedError) as caught:
        ids_in(wire_value(value), "endSessions")
    assert (caught.value.code, caught.value.at) == (code, at)


def test_too_many_ids() -> None:
    one = {"id": UUID1}
    value = Document(encode({"v": [one] * (MAX_SESSIONS + 1)}))["v"]
    with pytest.raises(RefusedError, match="at most 10000"):
        ids_in(value, "endSessions")
