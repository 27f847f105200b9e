"""OP_COMPRESSED: one message inside another, and the compressors that can be had.

Source: wire compression specification. A size is checked before anything is inflated.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Any, Final

from mdb_proxy.wire.frames import (
    HEADER,
    MAX_MESSAGE,
    OP_COMPRESSED,
    Frame,
    WireError,
    frame,
)

_PREFIX: Final = struct.Struct("<iiB")
_ZSTD_WINDOW: Final = 64 * 1024 * 1024
_VARINT_BYTES: Final = 5
_VARINT_MORE: Final = 0x80


@dataclass(frozen=True, slots=True)
class Compressor:
    """One way to compress a payload.

    Attributes:
        id: its number on the wire.
        compress: payload -> compressed bytes.
        decompress: compressed bytes, exact size of the payload -> payload; never makes more than
            that size; raises WireError when it is another one.
    """

    id: int
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes, int], bytes]


def _zlib(module: Any) -> Compressor:
    def decompress(data: bytes, size: int) -> bytes:
        stream = module.decompressobj()
        try:
            # one byte more than announced is enough to see a lie; 0 would mean "no bound"
            payload: bytes = stream.decompress(data, size + 1)
        except module.error:
            raise WireError("the zlib data is damaged") from None
        if len(payload) != size or not stream.eof or stream.unused_data:
            raise WireError("the zlib data has another size than announced")
        return payload

    return Compressor(2, module.compress, decompress)


def _snappy(module: Any) -> Compressor:
    def decompress(data: bytes, size: int) -> bytes:
        # the data begins with its own size; the library would allocate whatever that says
        if _varint(data) != size:
            raise WireError("the snappy data has another size than announced")
        try:
            return bytes(module.uncompress(data))
        except module.UncompressError:
            raise WireError("the snappy data is damaged") from None

    return Compressor(1, module.compress, decompress)


def _zstd(module: Any) -> Compressor:
    def decompress(data: bytes, size: int) -> bytes:
        try:
            # a size that the data states itself overrules max_output_size
            stated = module.frame_content_size(data)
            if stated not in {-1, size}:
                raise WireError("the zstd data has another size than announced")
            payload: bytes = module.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompress(
                data, max_output_size=max(size, 1), allow_extra_data=False
            )
        except module.ZstdError:
            raise WireError("the zstd data is damaged") from None
        if len(payload) != size:
            raise WireError("the zstd data has another size than announced")
        return payload

    def compress(data: bytes) -> bytes:
        compressed: bytes = module.ZstdCompressor().compress(data)
        return compressed

    return Compressor(3, compress, decompress)


Maker = tuple[str, Callable[[ModuleType], Compressor]]

_MAKERS: Final[Mapping[str, Maker]] = {
    "snappy": ("snappy", _snappy),
    "zlib": ("zlib", _zlib),
    "zstd": ("zstandard", _zstd),
}


def available(makers: Mapping[str, Maker] = _MAKERS) -> Mapping[str, Compressor]:
    """The compressors whose modules are installed, by the name that `hello` offers."""
    found: dict[str, Compressor] = {}
    for name, (module, make) in makers.items():
        try:
            found[name] = make(import_module(module))
        except ImportError:
            continue
    return MappingProxyType(found)


COMPRESSORS: Final = available()
_BY_ID: Final = {compressor.id: compressor for compressor in COMPRESSORS.values()}


def unwrap(outer: Frame, limit: int = MAX_MESSAGE) -> Frame:
    """The message inside a frame of opcode OP_COMPRESSED; `limit` in bytes, header included.

    Raises:
        WireError: cut off, nested, unknown compressor, a size above the limit or a wrong one.
    """
    if len(outer.payload) < _PREFIX.size:
        raise WireError("the compression header is cut off")
    opcode, size, number = _PREFIX.unpack_from(outer.payload)
    if opcode == OP_COMPRESSED:
        raise WireError("a compressed message inside another")
    if not 0 <= size <= limit - HEADER.size:
        raise WireError(f"uncompressed size {size} is not within 0 and {limit - HEADER.size}")
    compressor = _BY_ID.get(number)
    if compressor is None:
        raise WireError(f"unknown compressor {number}")
    payload = compressor.decompress(outer.payload[_PREFIX.size :], size)
    return Frame(outer.request_id, outer.response_to, opcode, payload)


def wrap(message: bytes, name: str) -> bytes:
    """A whole message inside an OP_COMPRESSED one; `name` is a key of COMPRESSORS."""
    compressor = COMPRESSORS[name]
    _, request_id, response_to, opcode = HEADER.unpack_from(message)
    payload = message[HEADER.size :]
    prefix = _PREFIX.pack(opcode, len(payload), compressor.id)
    parts = (prefix, compressor.compress(payload))
    return frame(OP_COMPRESSED, request_id, response_to, parts)


def _varint(data: bytes) -> int | None:
    """The little-endian base-128 number that begins the data; None when it does not end."""
    value = 0
    for index, byte in enumerate(data[:_VARINT_BYTES]):
        value |= (byte & ~_VARINT_MORE) << (7 * index)
        if byte < _VARINT_MORE:
            return value
    return None
