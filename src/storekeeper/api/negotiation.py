"""Which bytes a client wants: Accept-Encoding and If-None-Match, as RFC 9110 has them. Pure.

Both are cached by the header's bytes, since the same few clients ask again and again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

Encoding = Literal["zstd", "gzip", "identity"]

# In the order of preference where a client has none: smallest time and size first.
ENCODINGS: tuple[Encoding, ...] = ("zstd", "gzip", "identity")
_ALIASES = {b"x-gzip": b"gzip"}
_WEIGHT = re.compile(rb"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\Z")
# An entity-tag's own bytes may hold a comma (RFC 9110, 8.8.3), so a list is matched, not split.
_TAG = re.compile(rb'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


@lru_cache(256)
def chosen_encoding(accept_encoding: bytes | None) -> Encoding | None:
    """The encoding to answer with (RFC 9110, 12.5.3); None when the client accepts none that we have.

    Without the header a client gets the bytes as they are. What is no codings list is passed over.

    >>> chosen_encoding(b"gzip, deflate, br, zstd"), chosen_encoding(b"gzip;q=0.5, identity")
    ('zstd', 'identity')
    >>> chosen_encoding(b"identity;q=0") or chosen_encoding(b"*;q=0") is None
    True
    """
    if accept_encoding is None:
        return "identity"
    weights = dict(_weights(accept_encoding))
    anything = weights.get(b"*")
    best: Encoding | None = None
    best_weight = 0.0
    for encoding in ENCODINGS:
        weight = weights.get(encoding.encode(), anything)
        if weight is None:
            # Identity alone is acceptable without being named; anything named goes before it.
            weight = 0.0005 if encoding == "identity" else 0.0
        if weight > best_weight:
            best, best_weight = encoding, weight
    return best


def _weights(accept_encoding: bytes) -> Iterable[tuple[bytes, float]]:
    for element in accept_encoding.lower().split(b","):
        coding, *parameters = (part.strip() for part in element.split(b";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition(b"=")
            if name.strip() == b"q":
                weight = float(value) if _WEIGHT.match(value.strip()) else 0.0
        if coding:
            yield _ALIASES.get(coding, coding), weight


def matches(if_none_match: bytes, etag: bytes) -> bool:
    r"""Whether one of the listed tags is `etag` (given with its quotes), compared weakly; `*` is any.

    >>> matches(b'"a", W/"b"', b'"b"'), matches(b"*", b'"b"'), matches(b'"b', b'"b"')
    (True, True, False)
    """
    if if_none_match.strip() == b"*":
        return True
    return etag[1:-1] in _TAG.findall(if_none_match)
