"""GridFS of one app: files as documents of two scoped collections, laid out as every driver does.

Source: "GridFS specification"; the surface is PyMongo's AsyncGridFSBucket.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

from bson.objectid import ObjectId
from gridfs.errors import CorruptGridFile, FileExists, NoFile
from pymongo.errors import DuplicateKeyError

from mdb_engine.database.collection import ScopedCollection
from mdb_engine.database.cursors import ScopedCursor
from mdb_engine.database.handle import ScopedDatabase
from mdb_engine.database.sessions import ScopedSession
from mdb_engine.exceptions import MongoDBEngineError

CHUNK_BYTES: Final = 255 * 1024


class NoFileError(MongoDBEngineError, NoFile):
    """There is no such file."""


class FileExistsHereError(MongoDBEngineError, FileExists):
    """A file of this id is there already."""


class CorruptFileError(MongoDBEngineError, CorruptGridFile):
    """A part of the file is missing."""


class ScopedGridFSBucket:
    """Files of one app."""

    __slots__ = ("_chunk", "_chunks", "_files", "_ready")

    def __init__(
        self,
        db: ScopedDatabase,
        bucket_name: str = "fs",
        chunk_size_bytes: int = CHUNK_BYTES,
        write_concern: Any = None,
        read_preference: Any = None,
    ) -> None:
        if not isinstance(db, ScopedDatabase):
            msg = "a bucket is made of a ScopedDatabase"
            raise TypeError(msg)
        options = {"write_concern": write_concern, "read_preference": read_preference}
        self._files = db.get_collection(f"{bucket_name}.files", **options)
        self._chunks = db.get_collection(f"{bucket_name}.chunks", **options)
        self._chunk, self._ready = chunk_size_bytes, False

    def open_upload_stream(
        self,
        filename: str,
        chunk_size_bytes: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        session: ScopedSession | None = None,
    ) -> ScopedGridIn:
        """A new file to write to; it is there when it is closed."""
        given = (ObjectId(), filename, chunk_size_bytes, metadata, session)
        return self.open_upload_stream_with_id(*given)

    def open_upload_stream_with_id(
        self,
        file_id: Any,
        filename: str,
        chunk_size_bytes: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        session: ScopedSession | None = None,
    ) -> ScopedGridIn:
        """The same under an id of the caller's."""
        document = {"_id": file_id, "filename": filename}
        document["chunkSize"] = chunk_size_bytes or self._chunk
        if metadata is not None:
            document["metadata"] = metadata
        return ScopedGridIn(self, document, session)

    async def upload_from_stream(
        self,
        filename: str,
        source: Any,
        chunk_size_bytes: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        session: ScopedSession | None = None,
    ) -> ObjectId:
        """Store bytes, or what `source.read()` gives; gives the file's id."""
        file_id = ObjectId()
        given = (filename, source, chunk_size_bytes, metadata, session)
        await self.upload_from_stream_with_id(file_id, *given)
        return file_id

    async def upload_from_stream_with_id(
        self,
        file_id: Any,
        filename: str,
        source: Any,
        chunk_size_bytes: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        session: ScopedSession | None = None,
    ) -> None:
        """The same under an id of the caller's."""
        given = (file_id, filename, chunk_size_bytes, metadata, session)
        async with self.open_upload_stream_with_id(*given) as stream:
            await stream.write(source)

    async def open_download_stream(
        self, file_id: Any, session: ScopedSession | None = None
    ) -> ScopedGridOut:
        """A file to read.

        Raises:
            NoFile: there is none.
        """
        found = await self._files.find_one({"_id": file_id}, session=session)
        if found is None:
            raise NoFileError(f"no file in this bucket with _id {file_id!r}")
        return ScopedGridOut(self._chunks, found, session)

    async def open_download_stream_by_name(
        self, filename: str, revision: int = -1, session: ScopedSession | None = None
    ) -> ScopedGridOut:
        """A revision of a file: 0 the first one, -1 the newest.

        Raises:
            NoFile: there is none.
        """
        skip, direction = (revision, 1) if revision >= 0 else (-revision - 1, -1)
        cursor = self._files.find({"filename": filename}, session=session)
        found = await cursor.sort("uploadDate", direction).skip(skip).limit(1).to_list()
        if not found:
            raise NoFileError(f"no version {revision} of the file {filename!r}")
        return ScopedGridOut(self._chunks, found[0], session)

    async def download_to_stream(
        self, file_id: Any, destination: Any, session: ScopedSession | None = None
    ) -> None:
        """Write a file's content to `destination.write`."""
        await _copy(await self.open_download_stream(file_id, session), destination)

    async def download_to_stream_by_name(
        self,
        filename: str,
        destination: Any,
        revision: int = -1,
        session: ScopedSession | None = None,
    ) -> None:
        """Write a revision's content to `destination.write`."""
        found = await self.open_download_stream_by_name(filename, revision, session)
        await _copy(found, destination)

    async def delete(self, file_id: Any, session: ScopedSession | None = None) -> None:
        """Remove a file.

        Raises:
            NoFile: there is none.
        """
        result = await self._files.delete_one({"_id": file_id}, session=session)
        await self._chunks.delete_many({"files_id": file_id}, session=session)
        if not result.deleted_count:
            raise NoFileError(f"no file could be deleted because none matched {file_id!r}")

    async def delete_by_name(self, filename: str, session: ScopedSession | None = None) -> None:
        """Remove every revision of a file.

        Raises:
            NoFile: there is none.
        """
        found = await self._files.distinct("_id", {"filename": filename}, session=session)
        for file_id in found:
            await self.delete(file_id, session)
        if not found:
            raise NoFileError(f"no file could be deleted because none is named {filename!r}")

    async def rename(
        self, file_id: Any, new_filename: str, session: ScopedSession | None = None
    ) -> None:
        """Give a file another name.

        Raises:
            NoFile: there is none.
        """
        change = {"$set": {"filename": new_filename}}
        result = await self._files.update_one({"_id": file_id}, change, session=session)
        if not result.matched_count:
            raise NoFileError(f"no file could be renamed because none matched {file_id!r}")

    async def rename_by_name(
        self, filename: str, new_filename: str, session: ScopedSession | None = None
    ) -> None:
        """Give every revision of a file another name.

        Raises:
            NoFile: there is none.
        """
        change = {"$set": {"filename": new_filename}}
        result = await self._files.update_many({"filename": filename}, change, session=session)
        if not result.matched_count:
            raise NoFileError(f"no file could be renamed because none is named {filename!r}")

    def find(self, *args: Any, **kwargs: Any) -> ScopedCursor:
        """Documents of files; `open_download_stream(found["_id"])` reads one."""
        return self._files.find(*args, **kwargs)

    async def _prepare(self) -> None:
        """Make the indexes that readers of GridFS count on."""
        if not self._ready:
            await self._files.create_index([("filename", 1), ("uploadDate", 1)])
            await self._chunks.create_index([("files_id", 1), ("n", 1)], unique=True)
            self._ready = True


class ScopedGridIn:
    """A file that is being written."""

    __slots__ = ("_begun", "_bucket", "_count", "_document", "_rest", "_session", "closed")

    def __init__(
        self, bucket: ScopedGridFSBucket, document: dict[str, Any], session: ScopedSession | None
    ) -> None:
        self._bucket, self._document, self._session = bucket, document, session
        self._rest, self._count, self._begun, self.closed = bytearray(), 0, False, False

    @property
    def _id(self) -> Any:
        return self._document["_id"]

    @property
    def filename(self) -> str:
        """The name."""
        return str(self._document["filename"])

    async def write(self, data: Any) -> None:
        """Add bytes, or what `data.read()` gives.

        Raises:
            ValueError: the file is closed. FileExists: its id is taken.
        """
        if self.closed:
            msg = "cannot write to a closed file"
            raise ValueError(msg)
        if hasattr(data, "read"):
            while part := await _result(data.read(self._document["chunkSize"])):
                await self.write(part)
            return
        if not isinstance(data, bytes | bytearray | memoryview):
            msg = "bytes are needed, or something that can be read"
            raise TypeError(msg)
        self._rest += data
        size = self._document["chunkSize"]
        while len(self._rest) >= size:
            await self._chunk(bytes(self._rest[:size]))
            del self._rest[:size]

    async def writelines(self, lines: Any) -> None:
        """Add each of them."""
        for line in lines:
            await self.write(line)

    async def _chunk(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            if self._session is None:
                await self._bucket._prepare()  # noqa: SLF001 - one family
        chunk = {"files_id": self._document["_id"], "n": self._count, "data": data}
        try:
            await self._bucket._chunks.insert_one(chunk, session=self._session)  # noqa: SLF001 - as above
        except DuplicateKeyError:
            raise FileExistsHereError(f"file with _id {self._id!r} already exists") from None
        self._document["length"] = self._document.get("length", 0) + len(data)
        self._count += 1

    async def close(self) -> None:
        """Finish the file.

        Raises:
            FileExists: its id is taken.
        """
        if self.closed:
            return
        self.closed = True
        if self._rest:
            await self._chunk(bytes(self._rest))
        self._document.setdefault("length", 0)
        self._document["uploadDate"] = datetime.now(UTC)
        try:
            await self._bucket._files.insert_one(self._document, session=self._session)  # noqa: SLF001 - one family
        except DuplicateKeyError:
            raise FileExistsHereError(f"file with _id {self._id!r} already exists") from None

    async def abort(self) -> None:
        """Forget what was written."""
        self.closed = True
        chunks = self._bucket._chunks  # noqa: SLF001 - one family
        await chunks.delete_many({"files_id": self._document["_id"]}, session=self._session)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            await self.close()
        else:
            await self.abort()


class ScopedGridOut:
    """A file that is being read."""

    __slots__ = ("_chunks", "_document", "_held", "_number", "_position", "_session")

    def __init__(
        self,
        chunks: ScopedCollection,
        document: dict[str, Any],
        session: ScopedSession | None = None,
    ) -> None:
        self._chunks, self._document, self._session = chunks, document, session
        self._position, self._number, self._held = 0, -1, b""

    @property
    def _id(self) -> Any:
        return self._document["_id"]

    @property
    def filename(self) -> str:
        """The name."""
        return str(self._document["filename"])

    @property
    def length(self) -> int:
        """Bytes."""
        return int(self._document["length"])

    @property
    def chunk_size(self) -> int:
        """Bytes of each chunk but the last."""
        return int(self._document["chunkSize"])

    @property
    def upload_date(self) -> datetime:
        """When it was closed."""
        found: datetime = self._document["uploadDate"]
        return found

    @property
    def metadata(self) -> Any:
        """What was stored beside it."""
        return self._document.get("metadata")

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._position

    async def seek(self, pos: int, whence: int = 0) -> int:
        """Go to a place: from the start (0), from here (1), from the end (2)."""
        place = pos + (0, self._position, self.length)[whence]
        if place < 0:
            msg = "the place is before the start"
            raise OSError(22, msg)
        self._position = min(place, self.length)
        return self._position

    async def readchunk(self) -> bytes:
        """What is left of the chunk at the current place; b"" at the end.

        Raises:
            CorruptGridFile: the chunk is missing.
        """
        if self._position >= self.length:
            return b""
        number = self._position // self.chunk_size
        if number != self._number:
            query = {"files_id": self._document["_id"], "n": number}
            found = await self._chunks.find_one(query, session=self._session)
            if found is None:
                raise CorruptFileError(f"no chunk #{number}")
            self._number, self._held = number, found["data"]
        part = self._held[self._position % self.chunk_size :]
        if not part:
            raise CorruptFileError(f"chunk #{number} is too short")
        self._position += len(part)
        return bytes(part)

    async def read(self, size: int = -1) -> bytes:
        """So many bytes, or all that are left."""
        wanted = self.length - self._position
        wanted = wanted if size < 0 else min(size, wanted)
        begin, parts, have = self._position, [], 0
        while have < wanted:
            part = await self.readchunk()
            parts.append(part)
            have += len(part)
        self._position = begin + wanted
        return b"".join(parts)[:wanted]

    async def readline(self, size: int = -1) -> bytes:
        """The next line, or so many bytes of it."""
        begin, line = self._position, b""
        while b"\n" not in line and (part := await self.readchunk()):
            line += part
        end = line.find(b"\n") + 1 or len(line)
        end = end if size < 0 else min(end, size)
        self._position = begin + end
        return line[:end]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    async def close(self) -> None:
        """Forget what is held."""
        self._held, self._number = b"", -1

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


async def _result(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def _copy(source: ScopedGridOut, destination: Any) -> None:
    while part := await source.readchunk():
        await _result(destination.write(part))
