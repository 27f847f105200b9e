"""What clients ask and the cluster answers, again and again."""

from typing import Any
from uuid import UUID

from bson import Binary, Int64

from mdb_proxy.lsids import mapped
from tests.support.talks import SECRET, Talk, World, credential

Fields = dict[str, Any]


def client_session(number: int = 1) -> Fields:
    """A session id as a client makes it up."""
    return {"id": Binary.from_uuid(UUID(int=number))}


def cluster_session(number: int = 1, app: str = "shop", user: str = "") -> Fields:
    """The same session as the cluster knows it."""
    data = mapped(UUID(int=number).bytes, app, user or app, SECRET)
    return {"id": UUID(bytes=data)}


def opened(number: int = 99, ns: str = "appdata.shop_tasks") -> Fields:
    return {"cursor": {"id": Int64(number), "ns": ns, "firstBatch": [{"a": 1}]}, "ok": 1.0}


def followed(number: int = 99, ns: str = "appdata.shop_tasks") -> Fields:
    return {"cursor": {"id": Int64(number), "ns": ns, "nextBatch": [{"a": 2}]}, "ok": 1.0}


OK = {"ok": 1.0}
FIND = {"find": "tasks", "$db": "shop"}
COUNT = {"count": "tasks", "$db": "shop"}
MORE = {"getMore": Int64(99), "collection": "tasks", "$db": "shop"}
KILL = {"killCursors": "tasks", "cursors": [Int64(99)], "$db": "shop"}
TRANSACTION = {"lsid": client_session(), "txnNumber": Int64(1), "autocommit": False}


def talks(*users: str, **limits: Any) -> tuple[World, list[Talk]]:
    world = World(credential("shop-2", "shop"), **limits)
    return world, [Talk(world, user) for user in users]


def shop(**limits: Any) -> Talk:
    return talks("shop", **limits)[1][0]
