"""The visits of Beanie and MongoEngine, whose models make collections and indexes themselves."""

from datetime import UTC, datetime
from typing import Any

import mongoengine
from beanie import BulkWriter, Document, UpdateResponse, init_beanie
from beanie.odm.operators.update.general import Inc, Set
from pydantic import BaseModel, Field
from pymongo import ASCENDING, AsyncMongoClient, IndexModel
from pymongo.errors import DuplicateKeyError

from tests.support.visits import (
    BATCH,
    CHUNK,
    CONTENT,
    ROWS,
    Visit,
    duplicate_row,
    index_rows,
    kind,
)


class Short(BaseModel):
    """What a projection leaves."""

    id: int = Field(alias="_id")
    n: int


def _beanie_models(name: str) -> tuple[Any, Any, Any]:
    class Task(Document):
        id: int  # type: ignore[assignment]
        n: int = 0
        kind: str | None = None
        seen: bool | None = None

        class Settings:
            name = "set below"
            keep_nulls = False

    class Row(Document):
        id: int  # type: ignore[assignment]
        kind: str | None = None

        class Settings:
            name = "set below"

    class Code(Document):
        id: int  # type: ignore[assignment]
        code: str
        at: datetime = Field(default_factory=lambda: datetime.now(UTC))

        class Settings:
            name = "set below"
            indexes = (
                IndexModel([("code", ASCENDING)], unique=True),
                IndexModel([("at", ASCENDING)], expireAfterSeconds=3600),
            )

    Task.Settings.name, Row.Settings.name = name, f"{name}_rows"
    Code.Settings.name = f"{name}_codes"
    return Task, Row, Code


async def visit_with_beanie(visit: Visit) -> dict[str, Any]:
    """Do every step that Beanie has."""
    client: Any = AsyncMongoClient(visit.uri, serverSelectionTimeoutMS=10_000)
    try:
        task, row, code = _beanie_models(visit.name)
        await init_beanie(database=client[visit.db], document_models=[task, row, code])
        said = await _beanie_crud(task) | await _beanie_bulk(task) | await _beanie_rows(row)
        said |= await _beanie_sessions(client, task, row)
        await code(id=1, code="a").insert()
        found = await code.get_pymongo_collection().index_information()
        said["indexes"] = index_rows(found)
        try:
            await code(id=2, code="a").insert()
        except DuplicateKeyError as error:
            said["duplicate"] = duplicate_row(error.details)
        return said
    finally:
        await client.close()


async def _beanie_crud(task: Any) -> dict[str, Any]:
    said: dict[str, Any] = {}
    await task(id=1, n=1, kind="odd").insert()
    await task.insert_many([task(id=n, n=n, kind=kind(n)) for n in range(2, 6)])
    found = task.find(task.n > 1).sort(-task.n).limit(2).project(Short)
    said["found"] = [row.n for row in await found.to_list()]
    one = await task.find_one(task.id == 1).update(Inc({task.n: 10}))
    many = await task.find_all().update(Set({task.seen: True}))
    said["modified"] = [one.modified_count, many.modified_count]
    new = task(id=6, n=6, kind="even")
    said["upserted"] = (await task.find_one(task.id == 6).upsert(Set({"n": 6}), on_insert=new)).id
    await task(id=2, n=20, kind="even").replace()
    stored = await task.get_pymongo_collection().find_one({"_id": 2})
    said["replaced"] = sorted(stored or {})
    new_document = UpdateResponse.NEW_DOCUMENT
    changed = task.find_one(task.id == 5).update(Inc({task.n: 1}), response_type=new_document)
    said["after"] = (await changed).n
    gone = [task.find_one(task.id == 3).delete(), task.find(task.n >= 11).delete()]
    said["deleted"] = [(await each).deleted_count for each in gone]
    said["left"] = await _beanie_ids(task)
    said["count"] = await task.count()
    said["distinct"] = sorted(await task.distinct("kind", {}))
    return said


async def _beanie_ids(task: Any) -> list[int]:
    return [row.id for row in await task.find_all().sort("_id").to_list()]


async def _beanie_bulk(task: Any) -> dict[str, Any]:
    async with BulkWriter() as writer:
        await task.insert_one(task(id=7, n=7, kind="odd"), bulk_writer=writer)
        await task.find_one(task.id == 4).update(Set({task.n: 44}), bulk_writer=writer)
        await task.find_one(task.id == 6).delete(bulk_writer=writer)
        found: Any = await writer.commit()
        writer.operations.clear()
    counts = [found.inserted_count, found.modified_count, found.deleted_count]
    return {"bulk": [*counts, await _beanie_ids(task)]}


async def _beanie_rows(row: Any) -> dict[str, Any]:
    await row.insert_many([row(id=n, kind=kind(n)) for n in range(ROWS)])
    found = await row.find_all(batch_size=BATCH).sort("_id").to_list()
    piped = await row.aggregate([{"$match": {}}], batchSize=BATCH).to_list()
    stages = [{"$group": {"_id": "$kind", "n": {"$sum": 1}}}, {"$sort": {"_id": 1}}]
    sums = await row.aggregate(stages).to_list()
    return {"rows": [len(found), len(piped)], "sums": [[each["_id"], each["n"]] for each in sums]}


async def _beanie_sessions(client: Any, task: Any, row: Any) -> dict[str, Any]:
    async with client.start_session() as session:
        await row(id=1000).insert(session=session)
        read = await row.get(1000, session=session)
        async with await session.start_transaction():
            await task(id=100).insert(session=session)
            assert await task.get(100) is None
        await session.start_transaction()
        await task(id=101).insert(session=session)
        await session.abort_transaction()
        await session.with_transaction(lambda own: task(id=102).insert(session=own))
    kept = [number for number in await _beanie_ids(task) if number >= 100]
    return {"session": read.id, "transactions": kept}


def _engine_models(name: str) -> tuple[Any, Any, Any, Any]:
    class Task(mongoengine.Document):
        id = mongoengine.IntField(primary_key=True)
        n = mongoengine.IntField(db_field="n")
        kind = mongoengine.StringField()
        seen = mongoengine.BooleanField()
        meta = {"collection": name, "db_alias": name}  # noqa: RUF012 - as MongoEngine has it

    class Row(mongoengine.Document):
        id = mongoengine.IntField(primary_key=True)
        kind = mongoengine.StringField()
        meta = {"collection": f"{name}_rows", "db_alias": name}  # noqa: RUF012

    class Code(mongoengine.Document):
        id = mongoengine.IntField(primary_key=True)
        code = mongoengine.StringField(unique=True)
        at = mongoengine.DateTimeField()
        ttl = {"fields": ["at"], "expireAfterSeconds": 3600}  # noqa: RUF012
        meta = {  # noqa: RUF012
            "collection": f"{name}_codes",
            "db_alias": name,
            "indexes": [ttl],
        }

    class Paper(mongoengine.Document):
        id = mongoengine.IntField(primary_key=True)
        file = mongoengine.FileField(db_alias=name)
        meta = {"collection": f"{name}_papers", "db_alias": name}  # noqa: RUF012

    return Task, Row, Code, Paper


def visit_with_mongoengine(visit: Visit) -> dict[str, Any]:
    """Do every step that MongoEngine has."""
    options = {"uuidRepresentation": "standard", "serverSelectionTimeoutMS": 10_000}
    mongoengine.connect(visit.db, alias=visit.name, host=visit.uri, **options)
    try:
        task, row, code, paper = _engine_models(visit.name)
        said = _engine_crud(task) | _engine_rows(row)
        code(id=1, code="a").save()
        said["indexes"] = index_rows(code._get_collection().index_information())
        try:
            code(id=2, code="a").save(force_insert=True)
        except mongoengine.NotUniqueError as error:
            said["duplicate"] = duplicate_row(_cause(error).details)
        return said | _engine_files(paper, visit.name)
    finally:
        mongoengine.disconnect(alias=visit.name)


def _cause(error: BaseException) -> DuplicateKeyError:
    """Give the driver's error inside MongoEngine's."""
    found = error.__cause__ or error.__context__
    assert isinstance(found, DuplicateKeyError)
    return found


def _engine_crud(task: Any) -> dict[str, Any]:
    said: dict[str, Any] = {}
    task(id=1, n=1, kind="odd").save()
    task.objects.insert([task(id=n, n=n, kind=kind(n)) for n in range(2, 6)])
    found = task.objects(n__gt=1).only("n").order_by("-n").limit(2)
    said["found"] = [row.n for row in found if row.kind is None]
    many = task.objects.update(set__seen=True, full_result=True)
    one = task.objects(id=1).update_one(inc__n=10, full_result=True)
    said["modified"] = [one.modified_count, many.modified_count]
    new = {"set__n": 6, "set__kind": "even"}
    said["upserted"] = task.objects(id=6).upsert_one(**new).id
    task(id=2, n=20, kind="even").save()
    said["replaced"] = sorted(task.objects.as_pymongo().get(id=2))
    said["after"] = task.objects(id=5).modify(inc__n=1, new=True).n
    said["deleted"] = [task.objects(id=3).delete(), task.objects(n__gte=11).delete()]
    said["left"] = [row.id for row in task.objects.order_by("id")]
    said["count"] = task.objects.count()
    said["distinct"] = sorted(task.objects.distinct("kind"))
    return said


def _engine_rows(row: Any) -> dict[str, Any]:
    row.objects.insert([row(id=n, kind=kind(n)) for n in range(ROWS)])
    found = list(row.objects.order_by("id").batch_size(BATCH))
    piped = list(row.objects.aggregate([{"$match": {}}], batchSize=BATCH))
    sums = row.objects.aggregate(
        [{"$group": {"_id": "$kind", "n": {"$sum": 1}}}, {"$sort": {"_id": 1}}]
    )
    return {"rows": [len(found), len(piped)], "sums": [[each["_id"], each["n"]] for each in sums]}


def _engine_files(paper: Any, name: str) -> dict[str, Any]:
    kept, gone = paper(id=1), paper(id=2)
    for each in (kept, gone):
        each.file.put(CONTENT, filename=name, chunk_size=CHUNK)
        each.save()
    read = paper.objects.get(id=1).file.read()
    assert read == CONTENT
    gone.file.delete()
    gone.save()
    assert paper.objects.get(id=2).file.read() is None
    return {"file": len(read)}
