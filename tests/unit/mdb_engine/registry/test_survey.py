import asyncio
from collections.abc import AsyncIterator
from typing import Any

from pymongo.errors import OperationFailure

from mdb_engine.manifest.model import Manifest
from mdb_engine.registry.survey import survey

SIZES = {"shop_a": 40, "shop_b": 70, "crm_x": 200}


async def each(items: list[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


class Collection:
    def __init__(self, name: str) -> None:
        self.name = name

    async def aggregate(self, _: Any) -> AsyncIterator[Any]:
        if self.name not in SIZES:
            raise OperationFailure("it has gone")
        return each([{"storageStats": {"totalSize": SIZES[self.name]}}])


class Database:
    async def list_collection_names(self) -> list[str]:
        return [*SIZES, "shop_gone", "apps_config"]

    async def list_collections(self, **_: Any) -> AsyncIterator[Any]:
        return each([{"name": "shop_v", "options": {"viewOn": "shop_a", "pipeline": []}}])

    def __getitem__(self, name: str) -> Collection:
        return Collection(name)


def app(slug: str, most: int | None) -> Manifest:
    return Manifest.model_validate(
        {"slug": slug, "name": slug, "limits": {"storage_bytes": most} if most else {}}
    )


def test_what_every_app_has() -> None:
    database: Any = Database()
    manifests = {"shop": app("shop", 100), "crm": app("crm", 300), "new": app("new", None)}
    found = asyncio.run(survey(database, {"shop", "crm", "new"}, manifests))
    assert found.holdings.of("shop") == {"shop_a", "shop_b", "shop_gone"}
    assert found.holdings.of("crm") == {"crm_x"}
    assert found.holdings.full == {"shop"}
    assert found.views == {"shop_v": ("shop_a",)}
