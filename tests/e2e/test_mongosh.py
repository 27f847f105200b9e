"""mongosh, unchanged."""

import json
import subprocess
from pathlib import Path

from tests.support.proxies import Proxy

SECONDS = 90

SCRIPT = """
const t = db.getCollection(NAME);
const out = {};
out.inserted = t.insertMany([{_id: 1, n: 1}, {_id: 2, n: 2}, {_id: 3, n: 3}]).insertedIds;
out.found = t.find({n: {$gt: 1}}).sort({_id: 1}).toArray();
out.summed = t.aggregate([{$group: {_id: null, n: {$sum: "$n"}}}]).toArray();
out.updated = t.updateOne({_id: 1}, {$set: {x: 1}}).modifiedCount;
out.index = t.createIndex({n: 1});
out.indexes = t.getIndexes().map((i) => i.name);
out.names = db.getCollectionNames().includes(NAME);
out.databases = db.getMongo().getDBNames();
out.count = t.countDocuments({});
out.distinct = t.distinct("app_id");
out.explained = t.find({n: 1}).explain().queryPlanner.namespace;
const session = db.getMongo().startSession();
const mine = session.getDatabase(db.getName()).getCollection(NAME);
session.startTransaction(); mine.insertOne({_id: 4}); session.abortTransaction();
session.startTransaction(); mine.insertOne({_id: 5}); session.commitTransaction();
out.afterwards = t.find().toArray().map((d) => d._id);
function code(f) { try { f(); return 0; } catch (e) { return e.code; } }
out.codes = {
  where: code(() => t.find({$where: "true"}).toArray()),
  tag: code(() => t.updateOne({_id: 1}, {$set: {app_id: "crm"}})),
  system: code(() => db.getCollection("system.users").find().toArray()),
  shutdown: code(() => db.adminCommand({currentOp: 1})),
  unknown: code(() => db.runCommand({nonsense: 1})),
};
out.version = db.version();
out.status = db.runCommand({connectionStatus: 1}).authInfo.authenticatedUsers;
out.hello = db.hello().msg;
out.stats = [db.stats().db, t.stats().ns, t.totalSize() > 0];
out.renamed = t.renameCollection(NAME + "_2").ok;
out.dropped = db.getCollection(NAME + "_2").drop();
print(JSON.stringify(out));
"""


def test_mongosh(proxy: Proxy, mongosh: Path, tmp_path: Path, name: str) -> None:
    script = tmp_path / "try.js"
    script.write_text(f"const NAME = {json.dumps(name)};\n{SCRIPT}")
    done = subprocess.run(  # noqa: S603 - our own text
        [mongosh, proxy.uris["shop"], "--quiet", "--norc", "--file", script],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    out = json.loads(done.stdout.strip().splitlines()[-1])
    databases = out.pop("databases")
    assert "shop" in databases
    assert proxy.db_name not in databases
    assert out.pop("version").count(".") == 2
    assert out == {
        "inserted": {"0": 1, "1": 2, "2": 3},
        "found": [{"_id": 2, "n": 2}, {"_id": 3, "n": 3}],
        "summed": [{"_id": None, "n": 6}],
        "updated": 1,
        "index": "n_1",
        "indexes": ["_id_", "n_1"],
        "names": True,
        "count": 3,
        "distinct": ["shop"],
        "explained": f"shop.{name}",
        "afterwards": [1, 2, 3, 5],
        "codes": {"where": 2, "tag": 66, "system": 73, "shutdown": 13, "unknown": 59},
        "status": [{"user": "shop", "db": "shop"}],
        "hello": "isdbgrid",
        "stats": ["shop", f"shop.{name}", True],
        "renamed": 1,
        "dropped": True,
    }
