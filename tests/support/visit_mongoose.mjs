// What tests/support/visits.py says, with Mongoose's models; prints one JSON document.
import mongoose from 'mongoose';
import { once } from 'node:events';
import { disturb, duplicateRow, eventRow, failure, files, indexRows, kind }
  from './visit_steps.mjs';

const visit = JSON.parse(process.env.VISIT);
await mongoose.connect(visit.uri, { dbName: visit.db, serverSelectionTimeoutMS: 10_000 });
const behind = await mongoose.createConnection(visit.behind).asPromise();
const model = (name, fields, end = '') => mongoose.model(
  name, new mongoose.Schema({ _id: Number, ...fields },
    { collection: visit.name + end, versionKey: false }));

const Task = model('Task', { n: Number, kind: String, seen: Boolean });
const Row = model('Row', { kind: String }, '_rows');
const Code = model('Code', {
  code: { type: String, unique: true }, at: { type: Date, expires: 3600 } }, '_codes');
const Valid = model('Valid', { n: mongoose.Schema.Types.Mixed }, '_valid');
const ids = async () => (await Task.find().sort({ _id: 1 })).map((row) => row._id);

async function crud() {
  await new Task({ _id: 1, n: 1, kind: 'odd' }).save();
  await Task.insertMany([2, 3, 4, 5].map((n) => ({ _id: n, n, kind: kind(n) })));
  const listed = await Task.find({ n: { $gt: 1 } }).select('n').sort('-n').limit(2);
  const found = listed.filter((row) => !row.kind).map((row) => row.n);
  const one = await Task.updateOne({ _id: 1 }, { $inc: { n: 10 } });
  const many = await Task.updateMany({}, { seen: true });
  const upserted = (await Task.updateOne(
    { _id: 6 }, { n: 6, kind: 'even' }, { upsert: true })).upsertedId;
  await Task.replaceOne({ _id: 2 }, { n: 20, kind: 'even' });
  const replaced = Object.keys(await Task.findById(2).lean()).sort();
  const after = (await Task.findByIdAndUpdate(
    5, { $inc: { n: 1 } }, { returnDocument: 'after' })).n;
  const deleted = [await Task.deleteOne({ _id: 3 }), await Task.deleteMany({ n: { $gte: 11 } })];
  return {
    found, modified: [one.modifiedCount, many.modifiedCount], upserted, replaced, after,
    deleted: deleted.map((each) => each.deletedCount), left: await ids(),
    count: await Task.countDocuments(),
    estimated: await Task.estimatedDocumentCount(), distinct: (await Task.distinct('kind')).sort(),
  };
}

async function bulk() {
  const done = await Task.bulkWrite([
    { insertOne: { document: { _id: 7, n: 7, kind: 'odd' } } },
    { updateOne: { filter: { _id: 4 }, update: { n: 44 } } },
    { deleteOne: { filter: { _id: 6 } } },
  ]);
  return { bulk: [done.insertedCount, done.modifiedCount, done.deletedCount, await ids()] };
}

async function cursors() {
  await Row.insertMany(Array.from({ length: 250 }, (_, n) => ({ _id: n, kind: kind(n) })));
  let found = 0;
  for await (const row of Row.find().sort({ _id: 1 }).batchSize(20).cursor()) {
    if (row._id === found) found += 1;
  }
  let piped = 0;
  for await (const row of Row.aggregate([{ $match: {} }]).cursor({ batchSize: 20 })) {
    if (row.kind) piped += 1;
  }
  const sums = await Row.aggregate(
    [{ $group: { _id: '$kind', n: { $sum: 1 } } }, { $sort: { _id: 1 } }]);
  return { rows: [found, piped], sums: sums.map((row) => [row._id, row.n]) };
}

async function sessions() {
  const session = await mongoose.startSession();
  await new Row({ _id: 1000 }).save({ session });
  const read = await Row.findById(1000).session(session);
  session.startTransaction();
  await new Task({ _id: 100 }).save({ session });
  if (await Task.findById(100)) throw new Error('seen from outside');
  await session.commitTransaction();
  session.startTransaction();
  await new Task({ _id: 101 }).save({ session });
  await session.abortTransaction();
  await session.endSession();
  await mongoose.connection.transaction((own) => new Task({ _id: 102 }).save({ session: own }));
  return { session: read._id, transactions: (await ids()).filter((id) => id >= 100) };
}

async function indexes() {
  await Code.init();
  await Code.create({ _id: 1, code: 'a' });
  const listed = await Code.listIndexes();
  const error = await failure(() => Code.create({ _id: 2, code: 'a' }));
  const changes = await Code.diffIndexes();
  if (changes.toDrop.length || changes.toCreate.length) throw new Error(JSON.stringify(changes));
  return { indexes: indexRows(listed), duplicate: duplicateRow(error) };
}

async function validator() {
  await Valid.init();
  const $jsonSchema = { required: ['n'], properties: { n: { bsonType: 'int' } } };
  await mongoose.connection.db.command(
    { collMod: `${visit.name}_valid`, validator: { $jsonSchema } });
  await Valid.create({ _id: 1, n: 1 });
  return { validated: (await failure(() => Valid.create({ _id: 2, n: 'x' }))).code };
}

async function watching() {
  const stream = Task.watch([], { maxAwaitTimeMS: 100 });
  const events = [];
  const heard = new Promise((resolve) => {
    stream.on('change', (event) => { if (events.push(event) === 3) resolve(); });
  });
  await once(stream, 'resumeTokenChanged'); // the server answered: it is open
  await new Task({ _id: 200 }).save();
  const others = behind.useDb(visit.otherDb);
  await disturb(others.collection(visit.othersName), others.collection(visit.strayName));
  await Task.updateOne({ _id: 200 }, { n: 1 });
  await Task.deleteOne({ _id: 200 });
  await heard;
  await stream.close();
  return { stream: events.map(eventRow) };
}

const said = {
  ...await crud(), ...await bulk(), ...await cursors(), ...await sessions(), ...await indexes(),
  ...await validator(), ...await watching(),
  ...await files(new mongoose.mongo.GridFSBucket(mongoose.connection.db), visit.name),
};
const names = (await mongoose.connection.listCollections()).map((each) => each.name);
said.collections = names.filter((name) => name.startsWith(visit.name)).sort();
console.log(JSON.stringify(said));
await mongoose.disconnect();
await behind.close();
