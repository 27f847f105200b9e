// What tests/support/visits.py says, in mongosh, whose calls need no await; prints one document.
const visit = JSON.parse(process.env.VISIT);
const own = db.getSiblingDB(visit.db);
const tasks = own.getCollection(visit.name);
const behind = new Mongo(visit.behind).getDB(visit.otherDb);
const others = behind.getCollection(visit.othersName);
const said = {};
function kind(n) { return n % 2 ? 'odd' : 'even'; }
function ids() { return tasks.find().sort({ _id: 1 }).toArray().map((row) => row._id); }
function failure(call) { try { call(); } catch (error) { return error; } }

tasks.insertOne({ _id: 1, n: 1, kind: 'odd' });
tasks.insertMany([2, 3, 4, 5].map((n) => ({ _id: n, n, kind: kind(n) })));
const found = tasks.find({ n: { $gt: 1 } }, { n: 1 }).sort({ n: -1 }).limit(2).toArray();
said.found = found.filter((row) => !row.kind).map((row) => row.n);
const one = tasks.updateOne({ _id: 1 }, { $inc: { n: 10 } });
const many = tasks.updateMany({}, { $set: { seen: true } });
said.modified = [one.modifiedCount, many.modifiedCount];
const six = tasks.updateOne({ _id: 6 }, { $set: { n: 6, kind: 'even' } }, { upsert: true });
said.upserted = six.insertedId;
tasks.replaceOne({ _id: 2 }, { n: 20, kind: 'even' });
said.replaced = Object.keys(tasks.findOne({ _id: 2 })).sort();
said.after = tasks.findOneAndUpdate(
  { _id: 5 }, { $inc: { n: 1 } }, { returnDocument: 'after' }).n;
said.deleted = [
  tasks.deleteOne({ _id: 3 }).deletedCount, tasks.deleteMany({ n: { $gte: 11 } }).deletedCount];
said.left = ids();
said.count = tasks.countDocuments({});
said.estimated = tasks.estimatedDocumentCount();
said.distinct = tasks.distinct('kind').sort();

const bulk = tasks.bulkWrite([
  { insertOne: { document: { _id: 7, n: 7, kind: 'odd' } } },
  { updateOne: { filter: { _id: 4 }, update: { $set: { n: 44 } } } },
  { deleteOne: { filter: { _id: 6 } } },
]);
said.bulk = [bulk.insertedCount, bulk.modifiedCount, bulk.deletedCount, ids()];

const rows = own.getCollection(`${visit.name}_rows`);
rows.insertMany(Array.from({ length: 250 }, (_, n) => ({ _id: n, kind: kind(n) })));
said.rows = [
  rows.find().batchSize(20).sort({ _id: 1 }).toArray().length,
  rows.aggregate([{ $match: {} }], { cursor: { batchSize: 20 } }).toArray().length,
];
const sums = rows.aggregate(
  [{ $group: { _id: '$kind', n: { $sum: 1 } } }, { $sort: { _id: 1 } }]).toArray();
said.sums = sums.map((row) => [row._id, row.n]);

const session = db.getMongo().startSession();
const within = session.getDatabase(visit.db);
within.getCollection(`${visit.name}_rows`).insertOne({ _id: 1000 });
said.session = within.getCollection(`${visit.name}_rows`).findOne({ _id: 1000 })._id;
const mine = within.getCollection(visit.name);
session.startTransaction();
mine.insertOne({ _id: 100 });
if (tasks.countDocuments({ _id: 100 })) throw new Error('seen from outside');
session.commitTransaction();
session.startTransaction();
mine.insertOne({ _id: 101 });
session.abortTransaction();
session.withTransaction(() => { mine.insertOne({ _id: 102 }); });
session.endSession();
said.transactions = ids().filter((id) => id >= 100);

const codes = own.getCollection(`${visit.name}_codes`);
codes.createIndex({ code: 1 }, { unique: true });
codes.createIndex({ at: 1 }, { expireAfterSeconds: 3600 });
codes.insertOne({ _id: 1, code: 'a' });
const listed = codes.getIndexes().sort((a, b) => (a.name < b.name ? -1 : 1));
said.indexes = listed.map((each) =>
  [each.name, each.unique ?? false, each.expireAfterSeconds ?? null]);
const twice = failure(() => codes.insertOne({ _id: 2, code: 'a' }));
said.duplicate = [twice.code, twice.keyPattern, twice.keyValue, twice.message];

const $jsonSchema = { required: ['n'], properties: { n: { bsonType: 'int' } } };
own.createCollection(`${visit.name}_valid`, { validator: { $jsonSchema } });
const valid = own.getCollection(`${visit.name}_valid`);
valid.insertOne({ n: 1 });
said.validated = failure(() => valid.insertOne({ n: 'x' })).code;

const stream = tasks.watch([], { maxAwaitTimeMS: 100 });
if (stream.tryNext()) throw new Error('an event too early');
tasks.insertOne({ _id: 200 });
behind.getCollection(visit.strayName).insertOne({ _id: 'loud', app_id: 'crm', n: 200 });
others.insertOne({ _id: 'loud', app_id: 'crm', n: 200 });
others.updateOne({ _id: 'loud' }, { $set: { n: 201 } });
others.deleteOne({ _id: 'loud' });
tasks.updateOne({ _id: 200 }, { $set: { n: 1 } });
tasks.deleteOne({ _id: 200 });
said.stream = [];
while (said.stream.length < 3) {
  const event = stream.tryNext();
  if (event) {
    said.stream.push(
      [event.operationType, event.documentKey._id, `${event.ns.db}.${event.ns.coll}`]);
  }
}
stream.close();

said.collections = own.getCollectionNames().filter((name) => name.startsWith(visit.name)).sort();
print(JSON.stringify(said));
