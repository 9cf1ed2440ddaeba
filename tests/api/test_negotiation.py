"""Accept-Encoding and If-None-Match, row by row of RFC 9110."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storekeeper.api.negotiation import ENCODINGS, chosen_encoding, matches


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        (None, "identity"),
        (b"", "identity"),
        (b"identity", "identity"),
        (b"gzip", "gzip"),
        (b"x-gzip", "gzip"),
        (b"GZIP", "gzip"),
        (b"zstd", "zstd"),
        (b"gzip, zstd", "zstd"),
        (b"gzip, deflate, br, zstd", "zstd"),
        (b"zstd;q=0.5, gzip;q=0.8", "gzip"),
        (b"gzip;q=0.001", "gzip"),
        (b"gzip ; q=0.5 , identity ; q=0.4", "gzip"),
        (b"gzip;q=0", "identity"),
        (b"gzip;q=0.000, zstd;q=0.000", "identity"),
        (b"br, deflate", "identity"),
        (b"*", "zstd"),
        (b"*;q=0.1, identity", "identity"),
        (b"zstd;q=0, *", "gzip"),
        (b"*;q=0", None),
        (b"identity;q=0", None),
        (b"br, identity;q=0", None),
        (b"identity;q=0, gzip", "gzip"),
        (b"*;q=0, gzip", "gzip"),
        (b"*;q=0, identity", "identity"),
        # What is no weight is no reason to send what may not be wanted.
        (b"gzip;q=2", "identity"),
        (b"gzip;q=", "identity"),
        (b"gzip;q=-1", "identity"),
        (b"gzip;q=nan", "identity"),
        (b"gzip;q=0.1234", "identity"),
        (b",,gzip,,", "gzip"),
        (b";q=1", "identity"),
    ],
)
def test_the_encoding_is_what_the_client_likes_best(header: bytes | None, encoding: str | None) -> None:
    assert chosen_encoding(header) == encoding


@settings(deadline=None)
@given(st.binary(max_size=64) | st.text("gzipstdentybrq=01.;, *").map(str.encode))
def test_no_header_breaks_it(header: bytes) -> None:
    assert chosen_encoding(header) in {*ENCODINGS, None}
    assert matches(header, b'"never-in-there-\x7f"') == (header.strip() == b"*")


ETAG = b'"23da-gzip"'


@pytest.mark.parametrize(
    "header",
    [
        b'"23da-gzip"', b'W/"23da-gzip"', b"*", b" * ", b'"a","23da-gzip"', b'"a" , W/"23da-gzip" , "b"',
        b'"a,b", "23da-gzip"',
    ],
)  # fmt: skip
def test_the_tag_is_found_in_a_list_and_compared_weakly(header: bytes) -> None:
    assert matches(header, ETAG)


@pytest.mark.parametrize(
    "header", [b"", b'"23da"', b'"23da-zstd"', b"23da-gzip", b'"23da-gzip', b'"*"', b'"x23da-gzip"', b'w/"a"']
)
def test_another_tag_is_no_match(header: bytes) -> None:
    assert not matches(header, ETAG)
