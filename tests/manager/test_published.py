"""What is served is prepared once, and every encoding holds the same document."""

from __future__ import annotations

import gzip

import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from storekeeper.manager.published import publish


@settings(deadline=None)
@given(st.binary(max_size=4096))
def test_every_encoding_holds_the_document(document: bytes) -> None:
    published = publish(document)
    assert published.identity == document
    assert gzip.decompress(published.gzip) == document
    assert zstandard.ZstdDecompressor().decompress(published.zstd) == document


def test_the_same_document_has_the_same_bytes_and_etag_on_every_host_at_any_time() -> None:
    first, second = publish(b'{"hosts":[]}'), publish(b'{"hosts":[]}')
    assert (first.gzip, first.zstd, first.etag) == (second.gzip, second.zstd, second.etag)


def test_another_document_has_another_etag() -> None:
    assert publish(b"a").etag != publish(b"b").etag
    assert len(publish(b"a").etag) == 32
