// What tests/support/visits.py says, with Node's driver; prints one JSON document.
import { GridFSBucket, MongoClient } from 'mongodb';
import { disturb, duplicateRow, eventRow, failure, files, indexRows, kind }
  from './visit_steps.mjs';

const visit = JSON.parse(process.env.VISIT);
const client = await new MongoClient(visit.uri, { serverSelectionTimeoutMS: 10_000 }).connect();
const behind = await new MongoClient(visit.behind).connect();
const db = client.db(visit.db);
const tasks = db.collection(visit.name);
const ids = async () => (await tasks.find().sort({ _id: 1 }).toArray()).map((row) => row._id);

async function crud() {
  await tasks.insertOne({ _id: 1, n: 1, kind: 'odd' });
  await tasks.insertMany([2, 3, 4, 5].map((n) => ({ _id: n, n, kind: kind(n) })));
  const cursor = tasks.find({ n: { $gt: 1 } }, { projection: { n: 1 } }).sort({ n: -1 }).limit(2);
  const found = (await cursor.toArray()).filter((row) => !row.kind).map((row) => row.n);
  const one = await tasks.updateOne({ _id: 1 }, { $inc: { n: 10 } });
  const many = await tasks.updateMany({}, { $set: { seen: true } });
  const six = { $set: { n: 6, kind: 'even' } };
  const upserted = (await tasks.updateOne({ _id: 6 }, six, { upsert: true })).upsertedId;
  await tasks.replaceOne({ _id: 2 }, { n: 20, kind: 'even' });
  const replaced = Object.keys(await tasks.findOne({ _id: 2 })).sort();
  const after = (await tasks.findOneAndUpdate(
    { _id: 5 }, { $inc: { n: 1 } }, { returnDocument: 'after' })).n;
  const deleted = [await tasks.deleteOne({ _id: 3 }), await tasks.deleteMany({ n: { $gte: 11 } })];
  return {
    found, modified: [one.modifiedCount, many.modifiedCount], upserted, replaced, after,
    deleted: deleted.map((each) => each.deletedCount), left: await ids(),
    count: await tasks.countDocuments(),
    estimated: await tasks.estimatedDocumentCount(), distinct: (await tasks.distinct('kind')).sort(),
  };
}

async function bulk() {
  const done = await tasks.bulkWrite([
    { insertOne: { document: { _id: 7, n: 7, kind: 'odd' } } },
    { updateOne: { filter: { _id: 4 }, update: { $set: { n: 44 } } } },
    { deleteOne: { filter: { _id: 6 } } },
  ]);
  return { bulk: [done.insertedCount, done.modifiedCount, done.deletedCount, await ids()] };
}

async function cursors(rows) {
  await rows.insertMany(Array.from({ length: 250 }, (_, n) => ({ _id: n, kind: kind(n) })));
  const found = await rows.find({}, { batchSize: 20 }).sort({ _id: 1 }).toArray();
  const piped = await rows.aggregate([{ $match: {} }], { batchSize: 20 }).toArray();
  const sums = await rows.aggregate(
    [{ $group: { _id: '$kind', n: { $sum: 1 } } }, { $sort: { _id: 1 } }]).toArray();
  return { rows: [found.length, piped.length], sums: sums.map((row) => [row._id, row.n]) };
}

async function sessions(rows) {
  const session = client.startSession();
  await rows.insertOne({ _id: 1000 }, { session });
  const read = await rows.findOne({ _id: 1000 }, { session });
  session.startTransaction();
  await tasks.insertOne({ _id: 100 }, { session });
  if (await tasks.countDocuments({ _id: 100 })) throw new Error('seen from outside');
  await session.commitTransaction();
  session.startTransaction();
  await tasks.insertOne({ _id: 101 }, { session });
  await session.abortTransaction();
  await session.withTransaction((own) => tasks.insertOne({ _id: 102 }, { session: own }));
  await session.endSession();
  return { session: read._id, transactions: (await ids()).filter((id) => id >= 100) };
}

async function indexes(codes) {
  await codes.createIndex({ code: 1 }, { unique: true });
  await codes.createIndex({ at: 1 }, { expireAfterSeconds: 3600 });
  await codes.insertOne({ _id: 1, code: 'a' });
  const listed = await codes.indexes();
  const error = await failure(() => codes.insertOne({ _id: 2, code: 'a' }));
  return { indexes: indexRows(listed), duplicate: duplicateRow(error) };
}

async function validator() {
  const $jsonSchema = { required: ['n'], properties: { n: { bsonType: 'int' } } };
  const valid = await db.createCollection(`${visit.name}_valid`, { validator: { $jsonSchema } });
  await valid.insertOne({ n: 1 });
  return { validated: (await failure(() => valid.insertOne({ n: 'x' }))).code };
}

async function watching() {
  const stream = tasks.watch([], { maxAwaitTimeMS: 100 });
  if (await stream.tryNext()) throw new Error('an event too early');
  await tasks.insertOne({ _id: 200 });
  const others = behind.db(visit.otherDb);
  await disturb(others.collection(visit.othersName), others.collection(visit.strayName));
  await tasks.updateOne({ _id: 200 }, { $set: { n: 1 } });
  await tasks.deleteOne({ _id: 200 });
  const events = [await stream.next(), await stream.next(), await stream.next()];
  await stream.close();
  return { stream: events.map(eventRow) };
}

const rows = db.collection(`${visit.name}_rows`);
const said = {
  ...await crud(), ...await bulk(), ...await cursors(rows), ...await sessions(rows),
  ...await indexes(db.collection(`${visit.name}_codes`)), ...await validator(),
  ...await watching(), ...await files(new GridFSBucket(db), visit.name),
};
const names = (await db.listCollections().toArray()).map((each) => each.name);
said.collections = names.filter((name) => name.startsWith(visit.name)).sort();
console.log(JSON.stringify(said));
await client.close();
await behind.close();
