"""The bytes of a document as they are served: encoded and compressed once, sent many times."""

from __future__ import annotations

import zlib
from hashlib import blake2b

import zstandard
from msgspec import Struct

GZIP_LEVEL = 6
ZSTD_LEVEL = 3
ETAG_BYTES = 16
# zlib's wbits for a gzip wrapper; it writes no time of making, so equal documents have equal bytes.
GZIP_WINDOW = zlib.MAX_WBITS | 16


class Published(Struct, frozen=True, eq=False):
    """One document in every encoding. `etag`: hex, without quotes and without the encoding's suffix."""

    identity: bytes
    gzip: bytes
    zstd: bytes
    etag: str


def publish(document: bytes) -> Published:
    """Every encoding of a document, at once: a request must never wait for a compressor.

    A document of 20,000 images (2.7 MB) takes 28 ms: gzip 21, zstd 4, the hash 3. All three leave the
    interpreter free, so call this in a thread.
    """
    gzip = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_WINDOW)
    return Published(
        identity=document,
        gzip=gzip.compress(document) + gzip.flush(),
        zstd=zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(document),
        etag=blake2b(document, digest_size=ETAG_BYTES).hexdigest(),
    )
