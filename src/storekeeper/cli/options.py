"""Options that several commands share."""

from __future__ import annotations

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
    """Adds --manager; the command gets a `client` of it."""

    @click.option("--manager", "url", default=None, metavar="URL", envvar=URL_VARIABLE, help="Whom to ask.")
    @wraps(command)
    def wrapped(*, url: str | None, **others: Any) -> None:
        from storekeeper.client import Client

        with Client(url or _default_url()) as client:
            command(client=client, **others)

    return wrapped


config_option = click.option(
    "--config", default=None, metavar="FILE", help=f"The declaration. [{DEFAULT_PATH}]"
)
captured_option = click.option(
    "--captured", default=None, metavar="DIR", help="The machine that was captured there, not this one."
)


def _default_url() -> str:
    """Where this host's own manager listens; a declaration that cannot be read does not matter here."""
    import tomllib

    try:
        with open(DEFAULT_PATH, "rb") as file:
            listen = str(tomllib.load(file)["manager"]["listen"])
    except (OSError, ValueError, KeyError, TypeError):
        listen = DEFAULT_LISTEN
    return f"http://{listen}"


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
