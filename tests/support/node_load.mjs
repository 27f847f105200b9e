// A client that writes and reads without a pause until its stdin closes, then says what it was told.
import { MongoClient } from "mongodb";

const [uri, name, threads] = process.argv.slice(2);
const client = new MongoClient(uri, { appName: "load" });
const told = { name, acknowledged: [], steps: 0, tried: 0, rounds: 0, errors: [], slowest: 0 };
let enough = false;
process.stdin.resume();
process.stdin.on("end", () => { enough = true; });

async function ask(work, ids) {
  const began = performance.now();
  try {
    await work();
  } catch (error) {
    told.errors.push(`${error.name} ${error.code}: ${error.message}`);
    return false;
  } finally {
    told.slowest = Math.max(told.slowest, (performance.now() - began) / 1000);
  }
  told.acknowledged.push(...ids);
  return true;
}

async function work(thread) {
  const db = client.db("shop");
  const [things, counts] = [db.collection("load"), db.collection("counts")];
  for (let round = 0; !enough; round += 1) {
    const [one, ...more] = [0, 1, 2, 3].map((n) => `${name}-${thread}-${round}-${n}`);
    await ask(() => things.insertOne({ _id: one }), [one]);
    await ask(() => things.insertMany(more.map((_id) => ({ _id }))), more);
    told.tried += 1;
    const change = { $inc: { n: 1 } };
    const done = await ask(() => counts.updateOne({ _id: name }, change, { upsert: true }), []);
    told.steps += done ? 1 : 0;
    await ask(() => things.findOne({ _id: one }), []);
    told.rounds += 1;
    if (told.rounds === 10) console.log("going");
  }
}

await Promise.all([...Array(Number(threads)).keys()].map(work));
await client.close();
console.log(JSON.stringify(told));
