// What the visits by Node's driver and by Mongoose share.
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

const CONTENT = Buffer.concat(Array(4).fill(Buffer.from(Array.from({ length: 250 }, (_, n) => n))));

export const kind = (n) => (n % 2 ? 'odd' : 'even');

export async function failure(call) {
  try { await call(); } catch (error) { return error; }
  throw new Error('it did not fail');
}

export function indexRows(listed) {
  const sorted = listed.sort((a, b) => (a.name < b.name ? -1 : 1));
  return sorted.map((each) => [each.name, each.unique ?? false, each.expireAfterSeconds ?? null]);
}

export const duplicateRow = (error) =>
  [error.code, error.keyPattern, error.keyValue, error.message];

export const eventRow = (event) =>
  [event.operationType, event.documentKey._id, `${event.ns.db}.${event.ns.coll}`];

// What the other app does while this one watches: see `Visit.disturb`.
export async function disturb(others, stray) {
  await stray.insertOne({ _id: 'loud', app_id: 'crm', n: 200 });
  await others.insertOne({ _id: 'loud', app_id: 'crm', n: 200 });
  await others.updateOne({ _id: 'loud' }, { $set: { n: 201 } });
  await others.deleteOne({ _id: 'loud' });
}

export async function files(bucket, name) {
  const upload = async (filename) => {
    const stream = bucket.openUploadStream(filename, { chunkSizeBytes: 256 });
    await pipeline(Readable.from([CONTENT]), stream);
    return stream.id;
  };
  const kept = await upload(name);
  const gone = await upload(`${name} gone`);
  const read = Buffer.concat(await bucket.openDownloadStream(kept).toArray());
  if (!read.equals(CONTENT)) throw new Error('other content');
  await bucket.delete(gone);
  const listed = await bucket.find({ filename: { $regex: `^${name}` } }).toArray();
  return { file: read.length, files: listed.map((each) => each.filename) };
}
