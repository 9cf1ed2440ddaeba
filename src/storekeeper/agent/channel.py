"""The agent's side of the channel: HTTP to the manager. It is always the agent that connects."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, Final, TypeVar

import aiohttp
import msgspec
import zstandard
from msgspec import Struct
from yarl import URL

from storekeeper import errors
from storekeeper.document import ErrorMessage
from storekeeper.errors import NotKnown, Refused, StorekeeperError, UsageError
from storekeeper.report import Acknowledged, Report, Scopes

CONNECT_S = 5.0
# A manager that applies a large report, or whose database is slow, may take this long to begin its answer.
ANSWER_S = 15.0
WHOLE_S = 120.0
# The manager holds a question for scopes for 20 s.
POLL_S = 30.0
# 20,000 images that guests use are scopes of some 3 MB.
ANSWER_LIMIT_BYTES = 64 << 20
_ZSTD_LEVEL = 3
_FINGERPRINT: Final = "sha256:"

T = TypeVar("T")

_ERRORS: Final[dict[str, type[StorekeeperError]]] = {
    kind.code: kind
    for kind in (
        errors.NotAuthenticated, errors.Refused, errors.Conflict, errors.FullReportNeeded, errors.Superseded,
        errors.Incompatible, errors.NotKnown, errors.UsageError,
    )
}  # fmt: skip


class Joined(Struct, frozen=True):
    """What a host gets for its join token, or for a credential that it replaces."""

    credential: str
    host_id: str = ""


class Channel:
    """Speaks with one manager. `credential` is asked at each request, so that a rotated one is used at once.

    Every method raises what the manager answered, and NotKnown when it does not answer or cannot now.
    """

    def __init__(self, url: str, credential: Callable[[], str], fingerprint: str = "") -> None:
        """`fingerprint`: of the manager's certificate, which is then known by it alone.

        Raises:
            UsageError: the URL or the fingerprint is none.
        """
        self.url = manager_url(url)
        self._credential = credential
        self._certificate: aiohttp.Fingerprint | bool = _pinned(fingerprint) if fingerprint else True
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Closes its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def report(self, report: Report) -> Acknowledged:
        """Delivers a report."""
        body = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(msgspec.msgpack.encode(report))
        headers = {"Content-Type": "application/vnd.msgpack", "Content-Encoding": "zstd"}
        answer = await self._ask("POST", "agents/report", headers=headers, data=body)
        return _decoded(answer, Acknowledged)

    async def scopes(self, after: str) -> Scopes | None:
        """Where to look, as soon as that is another version than `after`; None when it is still the same."""
        timeout = aiohttp.ClientTimeout(total=WHOLE_S, sock_connect=CONNECT_S, sock_read=POLL_S)
        answer = await self._ask("GET", "agents/scopes", params={"after": after}, timeout=timeout)
        return _decoded(answer, Scopes) if answer else None

    async def join(self, machine_id: str) -> Joined:
        """A credential for a join token, which is used up by that."""
        body = msgspec.json.encode({"machine_id": machine_id})
        headers = {"Content-Type": "application/json"}
        return _decoded(await self._ask("POST", "agents/join", headers=headers, data=body), Joined)

    async def rotate(self) -> Joined:
        """A new credential for the present one, which holds until the new one is first used."""
        return _decoded(await self._ask("POST", "agents/rotate"), Joined)

    async def _ask(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> bytes:
        """The body of the answer, empty for 204."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=WHOLE_S, sock_connect=CONNECT_S, sock_read=ANSWER_S)
            # A manager's own answers are all that is wanted: no proxy, no redirect, no cookie.
            self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        sent = {
            "Authorization": f"Bearer {self._credential()}",
            "Accept": "application/json",
            **(headers or {}),
        }
        try:
            async with self._session.request(
                method, self.url / path, headers=sent, ssl=self._certificate, allow_redirects=False, **more
            ) as answer:
                body = await _body(answer)
        except aiohttp.ServerFingerprintMismatch as error:
            raise Refused(
                f"What answers at {self.url} has another certificate, {_FINGERPRINT}{error.got.hex()}; "
                "if that is the manager's new one, start this agent with --fingerprint and that."
            ) from error
        except (aiohttp.ClientError, TimeoutError, OSError, ssl.CertificateError) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise NotKnown(f"No manager answers at {self.url}: {why}.") from error
        if answer.status in {200, 201}:
            return body
        if answer.status == 204:
            return b""
        raise self._error(answer.status, body)

    def _error(self, status: int, body: bytes) -> StorekeeperError:
        """The error that an answer stands for."""
        try:
            told = msgspec.json.decode(body, type=ErrorMessage)
        except msgspec.DecodeError:
            return NotKnown(f"What answers at {self.url} is no Storekeeper manager (HTTP {status}).")
        kind = _ERRORS.get(told.code, NotKnown if status >= 500 else UsageError)
        return kind(told.message)


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    pieces = []
    left = ANSWER_LIMIT_BYTES
    async for piece in answer.content.iter_any():
        left -= len(piece)
        if left < 0:
            raise NotKnown(f"The answer holds more than {ANSWER_LIMIT_BYTES} bytes.")
        pieces.append(piece)
    return b"".join(pieces)


def _decoded(body: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.DecodeError, RecursionError) as error:
        raise NotKnown(f"What answered is no manager of this version: {error}.") from error


def manager_url(url: str) -> URL:
    """The URL of a manager; plain HTTP only to this machine, for what is sent is a credential.

    Raises:
        UsageError: it is none.
    """
    try:
        found = URL(url)
    except ValueError:
        found = URL()
    if found.scheme not in {"http", "https"} or not found.host or found.path.strip("/") or found.query_string:
        raise UsageError(f"{url!r} is no manager's URL; write https://manager.example:8017.")
    if found.scheme == "http" and not _loopback(found.host):
        raise UsageError(
            f"{url} would carry this host's credential in clear; write https:// and --fingerprint."
        )
    return found.origin()


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _pinned(fingerprint: str) -> aiohttp.Fingerprint:
    try:
        digest = bytes.fromhex(fingerprint.removeprefix(_FINGERPRINT).replace(":", ""))
        return aiohttp.Fingerprint(digest)
    except ValueError as error:
        raise UsageError(
            f"{fingerprint!r} is no fingerprint; write sha256: and 64 hexadecimal digits."
        ) from error
