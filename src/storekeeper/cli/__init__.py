"""The command line. One file a command or group; a command is imported when it is called.

So `storekeeper --version` pays for click alone, and a query for the client.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from storekeeper import __version__
from storekeeper.errors import EXIT_FINE, EXIT_USAGE, StorekeeperError

EXIT_INTERRUPTED = 130

# A command's name and its module in this package, which holds it as `command`.
COMMANDS = {
    "serve": "serve",
    "agent": "agent",
    "host": "host",
    "storages": "storages",
    "show": "show",
    "images": "images",
    "image": "image",
    "disks": "disks",
    "hosts": "hosts",
    "guests": "guests",
    "watch": "watch",
    "scan": "scan",
    "probe": "probe",
    "discover": "discover",
    "config": "config",
    "apply": "apply",
    "token": "token",
    "capture": "capture",
}


class Commands(click.Group):
    """The commands of the table, in its order."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Their names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of this name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"{__name__}.{COMMANDS[cmd_name]}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; names the nearest command when there is none of this name."""
        from difflib import get_close_matches

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"No command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="storekeeper", message="%(prog)s %(version)s")
def storekeeper() -> None:
    """One true, complete, fresh document of an Image Storage."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and ends the process with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Runs one command line; returns its exit code (docs/cli.md). Errors are one line on stderr."""
    try:
        # Not `main`, which answers a closed pipe and Ctrl-C in its own way.
        with storekeeper.make_context("storekeeper", list(arguments)) as context:
            result: Any = storekeeper.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except StorekeeperError as error:
        click.echo(f"storekeeper: {error}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader has what it wanted. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FINE
    return result if isinstance(result, int) else EXIT_FINE
