"""Answers: prepared documents, and the one shape of everything that went wrong. Pure, save `send`."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from litestar.types import Send

from storekeeper.api.negotiation import ENCODINGS, Encoding, chosen_encoding, matches
from storekeeper.document import ErrorMessage
from storekeeper.errors import NotAcceptable, NotAuthenticated, StorekeeperError
from storekeeper.manager.published import Published

Headers = list[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
ASK_AGAIN = (b"cache-control", b"no-cache")
NO_SNIFFING = (b"x-content-type-options", b"nosniff")
_NOT_STORED = (b"cache-control", b"no-store")
_VARY = (b"vary", b"accept-encoding")

encode = msgspec.json.Encoder().encode


class Answer(NamedTuple):
    """A whole answer. `headers` has all that belong to it but NO_SNIFFING, which every answer gets."""

    status: int
    headers: Headers
    body: bytes


def made(body: bytes, *further: tuple[bytes, bytes]) -> Answer:
    """An answer made for this request."""
    return Answer(200, [JSON, (b"content-length", b"%d" % len(body)), ASK_AGAIN, *further], body)


def failure(error: StorekeeperError) -> Answer:
    """The answer that an error is: an ErrorMessage with the error's own status."""
    body = encode(ErrorMessage(message=str(error), code=error.code))
    headers = [JSON, (b"content-length", b"%d" % len(body)), _NOT_STORED]
    if isinstance(error, NotAuthenticated):
        headers.append((b"www-authenticate", b'Bearer realm="storekeeper"'))
    return Answer(error.http_status, headers, body)


def document(published: Published, accept_encoding: bytes | None, if_none_match: bytes | None) -> Answer:
    """A prepared document in the encoding that the client likes best; 304 when it has that already.

    Raises:
        NotAcceptable: the client rules out every encoding.
    """
    encoding = chosen_encoding(accept_encoding)
    if encoding is None:
        raise NotAcceptable(f"Accept-Encoding rules out all that there is: {', '.join(ENCODINGS)}.")
    etag = _etag(published, encoding)
    headers = [(b"etag", etag), _VARY, ASK_AGAIN]
    if if_none_match is not None and matches(if_none_match, etag):
        return Answer(304, headers, b"")
    body: bytes = getattr(published, encoding)
    headers += (JSON, (b"content-length", b"%d" % len(body)))
    if encoding != "identity":
        headers.append((b"content-encoding", encoding.encode()))
    return Answer(200, headers, body)


def _etag(published: Published, encoding: Encoding) -> bytes:
    """Strong, so one for each encoding: equal tags mean equal bytes (RFC 9110, 8.8.1)."""
    suffix = "" if encoding == "identity" else f"-{encoding}"
    return f'"{published.etag}{suffix}"'.encode()


async def send_answer(send: Send, answer: Answer, *, head: bool = False) -> None:
    """Sends it; without its body when the client asked for the `head` only."""
    headers = [*answer.headers, NO_SNIFFING]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else answer.body, "more_body": False})
