"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from storekeeper.declaration import DEFAULT_LISTEN, DEFAULT_PATH
from storekeeper.errors import NoSuchObject, UsageError

if TYPE_CHECKING:
    from storekeeper.client import Client

Command = Callable[..., None]

URL_VARIABLE = "STOREKEEPER_MANAGER"
FINGERPRINT_VARIABLE = "STOREKEEPER_FINGERPRINT"
TOKEN_VARIABLE = "STOREKEEPER_TOKEN"  # noqa: S105
TOKEN_FILE_VARIABLE = "STOREKEEPER_TOKEN_FILE"  # noqa: S105
# Where tokens are without being told: what a manager leaves here at its first start, and a person's own.
# As `manager.access` and `api.certificate` have it, which is too much to import for a query.
TOKEN_FILES = ("/var/lib/storekeeper/admin.token", "~/.config/storekeeper/token")
OWN_CERTIFICATE = "/var/lib/storekeeper/certificate.pem"


def rendered(command: Command) -> Command:
    """Adds the renderer's options; the command gets them as `view`."""
    from storekeeper.cli.render import FORMATS, View

    @click.option(
        "--format", "format_", type=click.Choice(FORMATS), default="table", help="How to print. [table]"
    )
    @click.option("--json", "as_json", is_flag=True, help="Short for --format json.")
    @click.option("-H", "no_header", is_flag=True, help="No header line.")
    @click.option("-b", "exact", is_flag=True, help="Exact bytes.")
    @click.option("--columns", default="", metavar="A,B|help", help="Which columns; help lists them.")
    @click.option("--sort", default="", metavar="COLUMN", help="Sort by a column; -COLUMN for descending.")
    @wraps(command)
    def wrapped(
        *, format_: str, as_json: bool, no_header: bool, exact: bool, columns: str, sort: str, **others: Any
    ) -> None:
        view = View(
            format="json" if as_json else format_,
            header=not no_header,
            exact=exact,
            columns=columns,
            sort=sort,
        )
        command(view=view, **others)

    return wrapped


def of_manager(command: Command) -> Command:
    """Adds --manager and --fingerprint; the command gets a `client` of it, with the token that is found."""

    @click.option("--manager", "url", default=None, metavar="URL", envvar=URL_VARIABLE, help="Whom to ask.")
    @click.option(
        "--fingerprint",
        default="",
        metavar="sha256:HEX",
        envvar=FINGERPRINT_VARIABLE,
        help="The manager's certificate, pinned.",
    )
    @wraps(command)
    def wrapped(*, url: str | None, fingerprint: str, **others: Any) -> None:
        from storekeeper.client import Client

        if url is None:
            url, own_fingerprint = _own_manager()
            fingerprint = fingerprint or own_fingerprint
        with Client(url, token=token_found(), fingerprint=fingerprint) as client:
            command(client=client, **others)

    return wrapped


config_option = click.option(
    "--config", default=None, metavar="FILE", help=f"The declaration. [{DEFAULT_PATH}]"
)
captured_option = click.option(
    "--captured", default=None, metavar="DIR", help="The machine that was captured there, not this one."
)


def token_found() -> str:
    """The token to send; `""` for none.

    Raises:
        UsageError: the file that was named cannot be read.
    """
    if TOKEN_VARIABLE in os.environ:
        return os.environ[TOKEN_VARIABLE].strip()
    named = os.environ.get(TOKEN_FILE_VARIABLE)
    if named is not None:
        try:
            return _text_of(named).strip()
        except (OSError, ValueError) as error:
            raise UsageError(
                f"${TOKEN_FILE_VARIABLE}: {named!r} cannot be read as a token: {error}."
            ) from error
    for path in TOKEN_FILES:
        try:
            return _text_of(os.path.expanduser(path)).strip()
        except (OSError, ValueError):
            continue
    return ""


def _own_manager() -> tuple[str, str]:
    """Where this host's own manager listens, and the fingerprint of its certificate if it has one. A
    declaration that cannot be read does not matter here.
    """
    import tomllib
    from ipaddress import ip_address

    try:
        with open(DEFAULT_PATH, "rb") as file:
            manager = dict(tomllib.load(file)["manager"])
        listen = str(manager.get("listen", DEFAULT_LISTEN))
        host, _, port = listen.rpartition(":")
        address = ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
    except (OSError, ValueError, KeyError, TypeError):
        return f"http://{DEFAULT_LISTEN}", ""
    if address.is_loopback and "certificate" not in manager:
        return f"http://{listen}", ""
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "[::1]"
    return f"https://{host}:{port}", _fingerprint(str(manager.get("certificate", OWN_CERTIFICATE)))


def _fingerprint(path: str) -> str:
    """Of the first certificate in a file; `""` when that cannot be read."""
    import re
    from hashlib import sha256
    from ssl import PEM_cert_to_DER_cert

    try:
        found = re.search(
            "-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", _text_of(path), re.DOTALL
        )
        return f"sha256:{sha256(PEM_cert_to_DER_cert(found[0])).hexdigest()}" if found else ""
    except (OSError, ValueError):
        return ""


def _text_of(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def one_of(kind: str, wanted: str | None, known: tuple[str, ...]) -> str:
    """The one that was named, or the only one.

    Raises:
        NoSuchObject: there is no such.
        UsageError: none was named and there are several, or none at all.
    """
    if wanted is not None:
        if wanted not in known:
            raise NoSuchObject(kind, wanted, known)
        return wanted
    if len(known) != 1:
        raise UsageError(f"Which {kind}? There is: {', '.join(known)}." if known else f"There is no {kind}.")
    return known[0]


def storage_of(client: Client, wanted: str | None) -> str:
    """The id of the storage that was named; without a name the manager's only one."""
    if wanted is not None:
        return wanted
    return one_of("image storage", None, tuple(row.image_storage_id for row in client.storages()))
