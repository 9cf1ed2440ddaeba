"""The bytes of a document as they are served: encoded and compressed once, sent many times.

A document is made of pieces: some rows each, and what stands between. Where a piece begins follows from its
rows alone. So a change makes only the pieces anew that it touches, and every manager comes to the same bytes
and the same ETag, whatever it served before.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from operator import attrgetter
from typing import Any

import msgspec
import zstandard
from msgspec import Struct
from msgspec.structs import replace

from storekeeper.declaration import Declaration
from storekeeper.document import ImageStorageBasicInfo, ImageStorageInfo
from storekeeper.merge import merge
from storekeeper.merge.truth import HostView, Memory, Truth

GZIP_LEVEL = 6
ZSTD_LEVEL = 3
ETAG_BYTES = 16
# How many rows a piece has on average; a power of two.
ROWS_A_PIECE = 128

# RFC 1952: deflate, at no time, so that equal documents have equal bytes; by an unknown system.
_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
# RFC 1951: an empty last block.
_DEFLATE_END = b"\x03\0"
# How a volume without images is encoded. No text can hold it: the quotes would be escaped there.
_EMPTY = b'"images":[],"clones":[]'

encode = msgspec.json.Encoder().encode

_image_id: Callable[[Any], str] = attrgetter("image_id")
_clone_id: Callable[[Any], str] = attrgetter("clone_id")


class Piece(Struct, frozen=True, eq=False):
    """A part of a document. `rows`: what it was made of, if of rows. `deflated` may be joined with others."""

    text: bytes | memoryview
    deflated: bytes
    digest: bytes
    rows: Sequence[object] = ()


class Published(Struct, frozen=True, eq=False):
    """One document in every encoding. `etag`: hex, without quotes and without the encoding's suffix.

    `pieces`: what it was made of, for the one after it.
    """

    identity: bytes
    gzip: bytes
    zstd: bytes
    etag: str
    pieces: Mapping[object, Piece] = {}


def publish(document: bytes) -> Published:
    """Every encoding of a document, at once: a request must never wait for a compressor."""
    making = _Making({})
    making.between(document)
    return making.published(None)


def publish_storage(document: ImageStorageInfo, former: Published | None = None) -> Published:
    """The same of a storage's document, made of the former one's pieces; the former itself if it is equal.

    A first document of 20,000 images takes 40 ms, a change of one image 2 ms, mostly in compressors, which
    leave the interpreter free: call this in a thread.
    """
    making = _Making(former.pieces if former is not None else {})
    arrays = [
        (volume.images, volume.clones)
        for volumes in (document.volumes, document.external_volumes, document.gluster_volumes)
        for volume in volumes
    ]
    before, *after = encode(_bare(document)).split(_EMPTY)
    for (images, clones), text in zip(arrays, after, strict=True):
        making.between(before + b'"images":[')
        making.rows(images, _image_id)
        making.between(b'],"clones":[')
        making.rows(clones, _clone_id)
        before = b"]" + text
    making.between(before)
    return making.published(former)


def _bare(document: ImageStorageInfo) -> ImageStorageInfo:
    return replace(
        document,
        volumes=[replace(volume, images=[], clones=[]) for volume in document.volumes],
        external_volumes=[replace(volume, images=[], clones=[]) for volume in document.external_volumes],
        gluster_volumes=[replace(volume, images=[], clones=[]) for volume in document.gluster_volumes],
    )


def published_anew(
    declaration: Declaration,
    views: Mapping[str, HostView],
    former: Truth,
    memory: Memory,
    now: float,
    known: Mapping[str, Published],
    listing: Published,
) -> tuple[Truth, dict[str, Published], Published]:
    """The truth of this moment and its bytes; bytes that did not change are the known ones.

    `memory`: that of `former`, with what other managers remembered first.
    """
    truth = merge(declaration, views, memory, now, former)
    fresh = {}
    for storage_id, storage in truth.storages.items():
        former_storage = former.storages.get(storage_id)
        if former_storage is not None and former_storage.document is storage.document and storage_id in known:
            fresh[storage_id] = known[storage_id]
            continue
        fresh[storage_id] = publish_storage(storage.document, known.get(storage_id))
    rows = [
        ImageStorageBasicInfo(image_storage_id=storage_id, hosts=storage.document.hosts)
        for storage_id, storage in truth.storages.items()
    ]
    text = encode(rows)
    return truth, fresh, listing if listing.identity == text else publish(text)


class _Making:
    """Gathers the pieces of one document; `known` are those of the one before."""

    def __init__(self, known: Mapping[object, Piece]) -> None:
        self._known = known
        self._pieces: dict[object, Piece] = {}
        self._place = 0

    def between(self, text: bytes) -> None:
        """What stands between rows."""
        self._place += 1
        piece = self._known.get(self._place)
        self._pieces[self._place] = piece if piece is not None and piece.text == text else _piece(text)

    def rows(self, rows: Sequence[object], id_of: Callable[[Any], str]) -> None:
        """The rows of an array, sorted by their ids; its brackets stand between."""
        begin = 0
        while begin < len(rows):
            name = (self._place, id_of(rows[begin]), begin == 0)
            piece = self._known.get(name)
            end = begin + len(piece.rows) if piece is not None else 0
            if piece is None or rows[begin:end] != piece.rows or not _ends(rows, end, id_of):
                end = begin + 1
                while not _ends(rows, end, id_of):
                    end += 1
                text = encode(rows[begin:end])[1:-1]
                piece = _piece(b"," + text if begin else text, rows[begin:end])
            self._pieces[name] = piece
            begin = end

    def published(self, former: Published | None) -> Published:
        """The document in every encoding; `former` if it is the same."""
        digests = b"".join([piece.digest for piece in self._pieces.values()])
        etag = blake2b(digests, digest_size=ETAG_BYTES).hexdigest()
        if former is not None and former.etag == etag:
            return former
        identity = b"".join([piece.text for piece in self._pieces.values()])
        deflated = [piece.deflated for piece in self._pieces.values()]
        check = struct.pack("<II", zlib.crc32(identity), len(identity) & 0xFFFFFFFF)
        return Published(
            identity=identity,
            gzip=b"".join([_GZIP_HEAD, *deflated, _DEFLATE_END, check]),
            zstd=zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(identity),
            etag=etag,
            pieces=self._lying_in(identity),
        )

    def _lying_in(self, identity: bytes) -> dict[object, Piece]:
        """The pieces as parts of the document, so that nothing is kept twice."""
        whole, end = memoryview(identity), 0
        lying = {}
        for name, piece in self._pieces.items():
            begin, end = end, end + len(piece.text)
            lying[name] = replace(piece, text=whole[begin:end])
        return lying


def _ends(rows: Sequence[object], at: int, id_of: Callable[[Any], str]) -> bool:
    """Whether a piece ends before the row `at`."""
    return at >= len(rows) or zlib.crc32(id_of(rows[at]).encode()) % ROWS_A_PIECE == 0


def _piece(text: bytes, rows: Sequence[object] = ()) -> Piece:
    deflating = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = deflating.compress(text) + deflating.flush(zlib.Z_FULL_FLUSH)
    return Piece(text, deflated, blake2b(text, digest_size=ETAG_BYTES).digest(), rows)
