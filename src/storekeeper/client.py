"""A typed client of the HTTP API. Synchronous, on the standard library, quick to import.

>>> with Client("http://127.0.0.1:8017") as client:      # doctest: +SKIP
...     for image in client.images("internal", {"format": ["qcow2"]}):
...         print(image.image_id, image.allocated_bytes)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, RemoteDisconnected
from ipaddress import ip_address
from ssl import CERT_NONE, create_default_context
from types import TracebackType
from typing import TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from msgspec.structs import asdict

from storekeeper.document import (
    DeclarationInfo,
    DiskDetail,
    ErrorMessage,
    GuestBasicInfo,
    GuestInfo,
    HostBasicInfo,
    HostInfo,
    ImageDetail,
    ImageStorageBasicInfo,
    ImageStorageInfo,
    JoinToken,
    ManagerInfo,
    TokenInfo,
    TokenMade,
    TokenWish,
)
from storekeeper.errors import (
    Conflict,
    DeclarationError,
    NotAuthenticated,
    NotKnown,
    NotThere,
    Refused,
    StorekeeperError,
    UsageError,
)

TIMEOUT_S = 10.0
# A stream has a comment every 15 s; after three that did not come the manager is lost.
QUIET_S = 45.0
_SCHEMES = ("http", "https")
_FINGERPRINT = re.compile(r"sha256:[0-9A-Fa-f]{64}\Z")
_NEXT = re.compile(r'<([^<>]*)>; rel="next"')

T = TypeVar("T")
# Of a declaration's file: keys to their values.
Table = Mapping[str, object]
# Fields, and what each may be.
Filters = Mapping[str, Sequence[str]]


class Client:
    """One connection to a manager, made when first needed and made again when it was lost.

    Every method may raise what the manager answered (NotThere, UsageError, Refused, NotKnown while it
    starts), and NotKnown when it does not answer.
    """

    def __init__(
        self, url: str, timeout_s: float = TIMEOUT_S, *, token: str = "", fingerprint: str = ""
    ) -> None:
        """`token` is sent where one is needed. `fingerprint`: `sha256:HEX` of the manager's certificate, of
        which then nothing else counts; without one it must be what this machine's own rules trust.

        Raises:
            UsageError: the URL is no manager's, the fingerprint is none.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        host, encrypted = parts.hostname, parts.scheme == "https"
        if parts.scheme not in _SCHEMES or not host or port == -1 or parts.path.strip("/") or parts.query:
            raise UsageError(f"{url!r} is no manager's URL; write http://127.0.0.1:8017.")
        if fingerprint and not _FINGERPRINT.match(fingerprint):
            raise UsageError(f"{fingerprint!r} is no fingerprint; write sha256: and 64 hexadecimal digits.")
        if not encrypted and not _is_loopback(host):
            raise UsageError(f"{url!r} is another machine, which answers by HTTPS only; write https://.")
        self.url = url.rstrip("/")
        self._token = token
        self._sends_token = encrypted
        self._connection: HTTPConnection
        if not encrypted:
            self._connection = HTTPConnection(host, port, timeout=timeout_s)
        elif fingerprint:
            self._connection = PinnedConnection(host, port, timeout_s, fingerprint.lower())
        else:
            self._connection = HTTPSConnection(host, port, timeout=timeout_s)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    # --- what it can ask ------------------------------------------------------------------------

    def storages(self) -> list[ImageStorageBasicInfo]:
        """All image storages."""
        return self._decoded("/imagestorages", list[ImageStorageBasicInfo])

    def storage(self, image_storage_id: str) -> ImageStorageInfo:
        """The full information of an image storage."""
        return self._decoded(f"/imagestorages/{_quoted(image_storage_id)}", ImageStorageInfo)

    def document(self, image_storage_id: str) -> bytes:
        """The same, as the bytes that were sent."""
        return self._get(f"/imagestorages/{_quoted(image_storage_id)}")[0]

    def tagged(self, image_storage_id: str) -> tuple[bytes, str]:
        """The same, with the document's ETag."""
        answer, body = self._answer(f"/imagestorages/{_quoted(image_storage_id)}")
        return body, answer.getheader("ETag", "").strip('"')

    def lines(self, image_storage_id: str, after: str) -> Iterator[bytes]:
        """The lines of the stream of what changes after the document of this ETag, as they come.

        The connection is closed with it. NotKnown is raised when it is lost, or quiet for QUIET_S.
        """
        headers = {"Accept": "text/event-stream", "Last-Event-ID": after}
        try:
            answer = self._exchange(f"/imagestorages/{_quoted(image_storage_id)}/events", headers)
            if answer.status != 200:
                raise _error(answer.status, answer.read(), self.url)
            if self._connection.sock is not None:
                self._connection.sock.settimeout(QUIET_S)
            yield from answer
        except (OSError, HTTPException) as error:
            raise self._silent(error) from error
        finally:
            self.close()

    def images(self, image_storage_id: str, filters: Filters | None = None) -> Iterator[ImageDetail]:
        """The images and clones of a storage, page after page. `filters`: fields, and what they may be."""
        return self._all(f"/imagestorages/{_quoted(image_storage_id)}/images", ImageDetail, filters)

    def image(self, image_storage_id: str, volume_id: str, image_id: str) -> ImageDetail:
        """All that is known of one image or clone."""
        volume = f"/imagestorages/{_quoted(image_storage_id)}/volumes/{_quoted(volume_id)}"
        return self._decoded(f"{volume}/images/{_quoted(image_id)}", ImageDetail)

    def disks(self, image_storage_id: str) -> list[DiskDetail]:
        """Every disk of every host of a storage."""
        return self._decoded(f"/imagestorages/{_quoted(image_storage_id)}/disks", list[DiskDetail])

    def hosts(self) -> list[HostBasicInfo]:
        """All hosts and their states."""
        return list(self._all("/hosts", HostBasicInfo))

    def host_infos(self) -> list[HostInfo]:
        """All that is known of all hosts."""
        return list(self._all("/hosts", HostInfo, {"fields": [",".join(HostInfo.__struct_fields__)]}))

    def host(self, host_id: str) -> HostInfo:
        """All that is known of a host."""
        return self._decoded(f"/hosts/{_quoted(host_id)}", HostInfo)

    def guests(self, filters: Filters | None = None) -> Iterator[GuestBasicInfo]:
        """All guests of all hosts. `filters`: as of `images`."""
        return self._all("/guests", GuestBasicInfo, filters)

    def guest(self, guest_id: str) -> GuestInfo:
        """All that is known of a guest, by its name or its UUID."""
        return self._decoded(f"/guests/{_quoted(guest_id)}", GuestInfo)

    def manager_info(self) -> ManagerInfo:
        """Which manager this is, and what it can do."""
        return self._decoded("/managerinfo", ManagerInfo)

    # --- what it can declare --------------------------------------------------------------------

    def declaration(self) -> tuple[DeclarationInfo, str]:
        """All that is declared, and its ETag for `replace_declaration`."""
        answer, body = self._answer("/declaration")
        return _decode(body, DeclarationInfo), answer.getheader("ETag", "*")

    def replace_declaration(self, tables: Table, etag: str = "*") -> None:
        """Puts tables in place of all that was declared through the API, if its ETag is still this one.

        Raises:
            Conflict: it is another one, or the manager's own file declares something of it.
        """
        self._change("PUT", "/declaration", tables, {"If-Match": etag})

    def add_storage(self, image_storage_id: str, table: Table) -> None:
        """Declares a further image storage: its table as in the declaration's file."""
        self._change("POST", "/imagestorages", {"image_storage_id": image_storage_id, **table})

    def replace_storage(self, image_storage_id: str, table: Table) -> None:
        """Declares an image storage anew; tables of volumes that are left out stay as they are."""
        self._change("PUT", f"/imagestorages/{_quoted(image_storage_id)}", table)

    def remove_storage(self, image_storage_id: str) -> None:
        """Declares an image storage and its volumes no more."""
        self._change("DELETE", f"/imagestorages/{_quoted(image_storage_id)}")

    def add_volume(self, image_storage_id: str, section: str, volume_id: str, table: Table) -> None:
        """Declares a further volume. `section`: `volumes`, `external_volumes` or `gluster_volumes`."""
        target = f"/imagestorages/{_quoted(image_storage_id)}/{_quoted(section)}"
        self._change("POST", target, {"volume_id": volume_id, **table})

    def replace_volume(self, image_storage_id: str, section: str, volume_id: str, table: Table) -> None:
        """Declares a volume anew."""
        target = f"/imagestorages/{_quoted(image_storage_id)}/{_quoted(section)}/{_quoted(volume_id)}"
        self._change("PUT", target, table)

    def remove_volume(self, image_storage_id: str, section: str, volume_id: str) -> None:
        """Declares a volume no more."""
        self._change(
            "DELETE", f"/imagestorages/{_quoted(image_storage_id)}/{_quoted(section)}/{_quoted(volume_id)}"
        )

    def add_host(self, host_id: str, description: str = "") -> None:
        """Declares a host, which may join then."""
        self._change("POST", "/hosts", {"host_id": host_id, **_described(description)})

    def replace_host(self, host_id: str, description: str = "") -> None:
        """Describes a host anew."""
        self._change("PUT", f"/hosts/{_quoted(host_id)}", _described(description))

    def remove_host(self, host_id: str) -> None:
        """Declares a host no more: one that no image storage links."""
        self._change("DELETE", f"/hosts/{_quoted(host_id)}")

    def join_token(self, host_id: str) -> JoinToken:
        """A token with which one machine may become this host, once, within an hour."""
        return _decode(self._change("POST", f"/hosts/{_quoted(host_id)}/join"), JoinToken)

    def revoke_host(self, host_id: str) -> None:
        """Takes away what the host's agent reports with; it may join anew."""
        self._change("POST", f"/hosts/{_quoted(host_id)}/revoke")

    # --- people's tokens ------------------------------------------------------------------------

    def tokens(self) -> list[TokenInfo]:
        """All of them, without what proves them."""
        return self._decoded("/tokens", list[TokenInfo])

    def make_token(self, wish: TokenWish) -> TokenMade:
        """A new one, which nobody can show again."""
        return _decode(self._change("POST", "/tokens", asdict(wish)), TokenMade)

    def revoke_token(self, token_id: str) -> None:
        """Revokes one."""
        self._change("DELETE", f"/tokens/{_quoted(token_id)}")

    # --- how ------------------------------------------------------------------------------------

    def _all(self, target: str, row: type[T], filters: Filters | None = None) -> Iterator[T]:
        """The rows of a list, page after page."""
        pairs = [(name, value) for name, values in (filters or {}).items() for value in values]
        while target:
            body, following = self._get(f"{target}?{urlencode(pairs)}" if pairs else target)
            yield from _decode(body, list[row])  # type: ignore[valid-type]
            target, pairs = following, []

    def _decoded(self, target: str, type_: type[T]) -> T:
        return _decode(self._get(target)[0], type_)

    def _get(self, target: str) -> tuple[bytes, str]:
        """The body, and the target of the next page (`""` for none)."""
        answer, body = self._answer(target)
        following = _NEXT.search(answer.getheader("Link", ""))
        return body, following[1] if following else ""

    def _change(
        self, method: str, target: str, table: Table | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Asks for a change, with a table as JSON; the answer's body."""
        body = None if table is None else msgspec.json.encode(table)
        return self._answer(target, method, body, headers)[1]

    def _answer(
        self,
        target: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[HTTPResponse, bytes]:
        """A good answer and its body."""
        try:
            answer = self._exchange(target, {"Accept": "application/json", **(headers or {})}, method, body)
            answered = answer.read()
        except (OSError, HTTPException) as error:
            self._connection.close()
            raise self._silent(error) from error
        if answer.status == 401 and self._token and not self._sends_token:
            self._sends_token = True
            return self._answer(target, method, body, headers)
        if answer.status not in {200, 201}:
            raise _error(answer.status, answered, self.url)
        return answer, answered

    def _exchange(
        self, target: str, headers: Mapping[str, str], method: str = "GET", body: bytes | None = None
    ) -> HTTPResponse:
        """One answer; asked once more when the manager closed a connection that had long been idle."""
        if method == "POST":
            # It must not be sent twice, so never on a connection that may be lost already.
            self._connection.close()
        reused = self._connection.sock is not None
        sent = {"Authorization": f"Bearer {self._token}"} if self._sends_token and self._token else {}
        try:
            self._connection.request(method, target, body, headers={**headers, **sent})
            return self._connection.getresponse()
        except (RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self._connection.close()
            if not reused:
                raise
            return self._exchange(target, headers, method, body)

    def _silent(self, error: Exception) -> NotKnown:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return NotKnown(f"No manager answers at {self.url}: {why}. Start one with: storekeeper serve")


class PinnedConnection(HTTPSConnection):
    """HTTPS to the one server that has this certificate, whatever it says in it."""

    def __init__(self, host: str, port: int | None, timeout_s: float, fingerprint: str) -> None:
        context = create_default_context()
        context.check_hostname = False
        context.verify_mode = CERT_NONE
        super().__init__(host, port, timeout=timeout_s, context=context)
        self._fingerprint = fingerprint

    def connect(self) -> None:
        """Connects; nothing is sent to who has another certificate.

        Raises:
            Refused: who answers has.
        """
        super().connect()
        certificate = self.sock.getpeercert(binary_form=True)
        found = f"sha256:{sha256(certificate or b'').hexdigest()}"
        if found != self._fingerprint:
            self.close()
            raise Refused(
                f"What answers at {self.host} has the certificate {found}, not the pinned one. If the "
                "manager was given another, take its fingerprint from the line that it prints when it starts."
            )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _described(description: str) -> dict[str, str]:
    return {"description": description} if description else {}


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _decode(body: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.DecodeError as error:
        raise NotKnown(f"What answered is no manager of this version: {error}.") from error


def _error(status: int, body: bytes, url: str) -> StorekeeperError:
    """The error that an answer stands for."""
    try:
        message = msgspec.json.decode(body, type=ErrorMessage).message
    except msgspec.DecodeError:
        return NotKnown(f"What answers at {url} is no Storekeeper manager (HTTP {status}).")
    if status == DeclarationError.http_status:
        return DeclarationError("", message)
    kinds = {401: NotAuthenticated, 403: Refused, 404: NotThere, 409: Conflict, 503: NotKnown}
    kind = kinds.get(status, UsageError if status < 500 else StorekeeperError)
    return kind(message)
