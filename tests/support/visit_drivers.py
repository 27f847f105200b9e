"""One visit for PyMongo, its asynchronous client and Motor: what may be awaited is awaited."""

import inspect
from typing import Any

from gridfs import GridFSBucket
from gridfs.asynchronous import AsyncGridFSBucket
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorGridFSBucket
from pymongo import (
    AsyncMongoClient,
    DeleteOne,
    InsertOne,
    MongoClient,
    ReturnDocument,
    UpdateOne,
)
from pymongo.errors import DuplicateKeyError, WriteError

from tests.support.visits import (
    BATCH,
    CHUNK,
    CONTENT,
    ROWS,
    Visit,
    duplicate_row,
    event_row,
    index_rows,
    kind,
)

BUCKETS: dict[Any, Any] = {
    MongoClient: GridFSBucket,
    AsyncMongoClient: AsyncGridFSBucket,
    AsyncIOMotorClient: AsyncIOMotorGridFSBucket,
}
SUM = [{"$group": {"_id": "$kind", "n": {"$sum": 1}}}, {"$sort": {"_id": 1}}]


async def done(result: Any) -> Any:
    """Give what a call of any of the three came to."""
    return await result if inspect.isawaitable(result) else result


async def listed(cursor: Any) -> list[Any]:
    """Read a cursor of any of the three to its end."""
    found = await done(cursor)
    return [row async for row in found] if hasattr(found, "__aiter__") else list(found)


async def visit_with(client_type: Any, visit: Visit) -> dict[str, Any]:
    """Do every step with one of the three clients."""
    client = client_type(visit.uri, serverSelectionTimeoutMS=10_000)
    try:
        db = client[visit.db]
        tasks = db[visit.name]
        said = await _crud(tasks) | await _bulk(tasks) | await _cursors(db[f"{visit.name}_rows"])
        said |= await _sessions(client, tasks, db[f"{visit.name}_rows"])
        said |= await _indexes(db[f"{visit.name}_codes"]) | await _validator(db, visit)
        said |= await _stream(tasks, visit) | await _files(BUCKETS[client_type](db), visit.name)
        names = await done(db.list_collection_names())
        said["collections"] = sorted(name for name in names if name.startswith(visit.name))
        return said
    finally:
        await done(client.close())


async def _crud(tasks: Any) -> dict[str, Any]:
    said: dict[str, Any] = {}
    await done(tasks.insert_one({"_id": 1, "n": 1, "kind": "odd"}))
    await done(tasks.insert_many([{"_id": n, "n": n, "kind": kind(n)} for n in range(2, 6)]))
    cursor = tasks.find({"n": {"$gt": 1}}, {"n": 1}).sort("n", -1).limit(2)
    said["found"] = [row["n"] for row in await listed(cursor) if set(row) == {"_id", "n"}]
    one = await done(tasks.update_one({"_id": 1}, {"$inc": {"n": 10}}))
    many = await done(tasks.update_many({}, {"$set": {"seen": True}}))
    said["modified"] = [one.modified_count, many.modified_count]
    row = {"$set": {"n": 6, "kind": "even"}}
    said["upserted"] = (await done(tasks.update_one({"_id": 6}, row, upsert=True))).upserted_id
    await done(tasks.replace_one({"_id": 2}, {"n": 20, "kind": "even"}))
    said["replaced"] = sorted(await done(tasks.find_one({"_id": 2})))
    after = tasks.find_one_and_update(
        {"_id": 5}, {"$inc": {"n": 1}}, return_document=ReturnDocument.AFTER
    )
    said["after"] = (await done(after))["n"]
    gone = [tasks.delete_one({"_id": 3}), tasks.delete_many({"n": {"$gte": 11}})]
    said["deleted"] = [(await done(each)).deleted_count for each in gone]
    said["left"] = await _ids(tasks)
    said["count"] = await done(tasks.count_documents({}))
    said["estimated"] = await done(tasks.estimated_document_count())
    said["distinct"] = sorted(await done(tasks.distinct("kind")))
    return said


async def _ids(tasks: Any) -> list[Any]:
    return [row["_id"] for row in await listed(tasks.find().sort("_id", 1))]


async def _bulk(tasks: Any) -> dict[str, Any]:
    writes = [
        InsertOne({"_id": 7, "n": 7, "kind": "odd"}),
        UpdateOne({"_id": 4}, {"$set": {"n": 44}}),
        DeleteOne({"_id": 6}),
    ]
    found = await done(tasks.bulk_write(writes))
    counts = [found.inserted_count, found.modified_count, found.deleted_count]
    return {"bulk": [*counts, await _ids(tasks)]}


async def _cursors(rows: Any) -> dict[str, Any]:
    await done(rows.insert_many([{"_id": n, "kind": kind(n)} for n in range(ROWS)]))
    found = await listed(rows.find(batch_size=BATCH).sort("_id", 1))
    piped = await listed(rows.aggregate([{"$match": {}}], batchSize=BATCH))
    sums = await listed(rows.aggregate(SUM))
    return {"rows": [len(found), len(piped)], "sums": [[row["_id"], row["n"]] for row in sums]}


async def _sessions(client: Any, tasks: Any, rows: Any) -> dict[str, Any]:
    session = await done(client.start_session())
    await done(rows.insert_one({"_id": 1000}, session=session))
    read = await done(rows.find_one({"_id": 1000}, session=session))
    await done(session.start_transaction())
    await done(tasks.insert_one({"_id": 100}, session=session))
    assert await done(tasks.count_documents({"_id": 100})) == 0
    assert await done(tasks.count_documents({"_id": 100}, session=session)) == 1
    await done(session.commit_transaction())
    await done(session.start_transaction())
    await done(tasks.insert_one({"_id": 101}, session=session))
    await done(session.abort_transaction())
    await done(session.with_transaction(lambda own: tasks.insert_one({"_id": 102}, session=own)))
    await done(session.end_session())
    kept = [number for number in await _ids(tasks) if number >= 100]
    return {"session": read["_id"], "transactions": kept}


async def _indexes(codes: Any) -> dict[str, Any]:
    await done(codes.create_index("code", unique=True))
    await done(codes.create_index("at", expireAfterSeconds=3600))
    await done(codes.insert_one({"_id": 1, "code": "a"}))
    said = {"indexes": index_rows(await done(codes.index_information()))}
    try:
        await done(codes.insert_one({"_id": 2, "code": "a"}))
    except DuplicateKeyError as error:
        said["duplicate"] = duplicate_row(error.details)
    return said


async def _validator(db: Any, visit: Visit) -> dict[str, Any]:
    schema = {"required": ["n"], "properties": {"n": {"bsonType": "int"}}}
    valid = await done(
        db.create_collection(f"{visit.name}_valid", validator={"$jsonSchema": schema})
    )
    await done(valid.insert_one({"n": 1}))
    try:
        await done(valid.insert_one({"n": "x"}))
    except WriteError as error:
        return {"validated": error.code}
    return {}


async def _stream(tasks: Any, visit: Visit) -> dict[str, Any]:
    stream = await done(tasks.watch(max_await_time_ms=100))
    assert await done(stream.try_next()) is None
    await done(tasks.insert_one({"_id": 200}))
    visit.disturb()
    await done(tasks.update_one({"_id": 200}, {"$set": {"n": 1}}))
    await done(tasks.delete_one({"_id": 200}))
    events = [event_row(await done(stream.next())) for _ in range(3)]
    await done(stream.close())
    return {"stream": events}


async def _files(bucket: Any, name: str) -> dict[str, Any]:
    size = {"chunk_size_bytes": CHUNK}
    kept = await done(bucket.upload_from_stream(name, CONTENT, **size))
    gone = await done(bucket.upload_from_stream(f"{name} gone", CONTENT, **size))
    read = await done((await done(bucket.open_download_stream(kept))).read())
    await done(bucket.delete(gone))
    assert read == CONTENT
    files = await listed(bucket.find({"filename": {"$regex": f"^{name}"}}))
    return {"file": len(read), "files": [file.filename for file in files]}
