import io
from collections.abc import Callable

import pytest
from gridfs.errors import NoFile

from mdb_engine.database import ScopedDatabase, ScopedGridFSBucket
from mdb_engine.exceptions import MongoDBEngineError
from tests.support.recorders import Recorder

Run = Callable[..., None]


def test_a_file_is_chunks_and_a_document(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        bucket = ScopedGridFSBucket(db, chunk_size_bytes=4)
        stream = bucket.open_upload_stream("a.txt", metadata={"kind": "x"})
        await stream.writelines([b"hel", b"lo"])
        await stream.write(io.BytesIO(b"!"))
        await stream.close()
        await stream.close()
        inserted = [each for each in recorder.seen if "insert" in each]
        names = [each["insert"] for each in inserted]
        assert names == ["shop_fs.chunks", "shop_fs.chunks", "shop_fs.files"]
        stored = inserted[-1]["documents"][0]
        assert (stored["length"], stored["chunkSize"], stored["app_id"]) == (6, 4, "shop")
        assert (stream.filename, stream.closed) == ("a.txt", True)
        with pytest.raises(ValueError, match="closed"):
            await stream.write(b"x")

    on_recorder(body)


def test_what_fails_is_taken_back(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        bucket = ScopedGridFSBucket(db)
        with pytest.raises(TypeError):
            await bucket.upload_from_stream("a", "text")
        assert recorder.seen[-1]["delete"] == "shop_fs.chunks"
        with pytest.raises(TypeError):
            ScopedGridFSBucket(db.tasks)  # type: ignore[arg-type]

    on_recorder(body)


def test_files_that_are_not_there(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        bucket = ScopedGridFSBucket(db)
        recorder.replies["update"] = {"n": 0, "nModified": 0, "ok": 1.0}
        recorder.replies["delete"] = {"n": 0, "ok": 1.0}
        for call in (
            bucket.open_download_stream(1),
            bucket.open_download_stream_by_name("a"),
            bucket.delete(1),
            bucket.delete_by_name("a"),
            bucket.rename(1, "b"),
            bucket.rename_by_name("a", "b"),
        ):
            with pytest.raises(NoFile) as raised:
                await call
            assert isinstance(raised.value, MongoDBEngineError)

    on_recorder(body)
