"""The declaration's TOML: read, checked as a whole, and written.

What may stand in the tables of storages and hosts is in `declaration_tables`; here is what only the file
has. Everything wrong with a file is found in one pass.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping

from storekeeper import declaration_values as values
from storekeeper.declaration import DEFAULT_DATABASE, DEFAULT_LISTEN, Declaration, Volume
from storekeeper.declaration_tables import (
    Errors,
    Key,
    as_table,
    check_keys,
    dotted,
    hosts_from,
    quoted,
    refuse_unknown,
    section_of,
    storages_from,
    wrong_together,
)
from storekeeper.errors import DeclarationError

DEFAULT_HOST_TIMEOUT_S = 60.0

_TWICE = re.compile(r"Cannot declare \((?P<names>.*)\) twice \(at line (?P<line>\d+)")


def check(text: str) -> list[DeclarationError]:
    """Everything that is wrong with the text of a declaration, in the order of the file's tables."""
    return _read(text, "localhost")[1]


def load(text: str, host_name: str) -> Declaration:
    """The declaration in a TOML text. `host_name` is this host's id where the text gives none.

    Raises:
        DeclarationError: the first of what `check` finds.
    """
    declaration, errors = _read(text, host_name)
    if errors:
        raise errors[0]
    return declaration


def write(declaration: Declaration) -> str:
    """The TOML text of a declaration, with comments, ready to edit: `load(write(d)) == d`."""
    lines = [
        "# What Storekeeper looks at. `storekeeper config check` says what is wrong with this file.",
        "",
        "[manager]",
        f"listen = {quoted(declaration.listen)}    # off loopback it is HTTPS, for tokens only",
        *_certificate_lines(declaration),
        f"database = {quoted(declaration.database)}",
        f"host_timeout_s = {_number(declaration.host_timeout_s)}    # a host silent for longer is unknown",
        *_pace_lines(declaration.every_s),
        "",
        "[host]",
        f"id = {quoted(declaration.host_id)}",
    ]
    for storage in declaration.image_storages.values():
        hosts = ", ".join(quoted(host) for host in storage.hosts)
        table = dotted("image_storages", storage.image_storage_id)
        lines += ["", "# One pool of images, reached by these hosts.", f"[{table}]", f"hosts = [{hosts}]"]
        for volume in storage.volumes:
            lines += ["", *_volume_lines(table, volume)]
    for host in declaration.hosts.values():
        lines += ["", f"[{dotted('hosts', host.host_id)}]"]
        if host.description:
            lines += [f"description = {quoted(host.description)}"]
    return "\n".join(lines) + "\n"


# --- reading ------------------------------------------------------------------------------------

_MANAGER = {
    "listen": Key(values.listen),
    "certificate": Key(values.path),
    "key": Key(values.path),
    "database": Key(values.database),
    "host_timeout_s": Key(values.seconds),
    "probe_every_s": Key(values.paces),
}
_HOST = {"id": Key(values.identifier)}
_TOP = ("manager", "host", "image_storages", "hosts")


def _read(text: str, host_name: str) -> tuple[Declaration, Errors]:
    """The declaration as far as it can be understood, and all errors."""
    empty = Declaration(host_id=host_name, image_storages={})
    try:
        file = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return empty, [_syntax_error(str(error))]
    except ValueError:
        return empty, [
            DeclarationError("", "it holds a number of more digits than can be read; write a small one")
        ]
    except RecursionError:
        return empty, [DeclarationError("", "it is nested too deeply; nothing in this file needs that")]
    errors: Errors = []
    refuse_unknown(file, _TOP, "", errors)
    manager = as_table(file.get("manager", {}), "manager", errors)
    host = as_table(file.get("host", {}), "host", errors)
    check_keys(manager, _MANAGER, "manager", errors)
    check_keys(host, _HOST, "host", errors)
    for given, missing in (("certificate", "key"), ("key", "certificate")):
        if given in manager and missing not in manager:
            errors.append(
                DeclarationError(f"manager.{missing}", f"is missing beside manager.{given}; write both")
            )
    if "id" not in host and (wrong := values.identifier(host_name)):
        errors.append(DeclarationError("host.id", f"is missing, and this host's name {wrong}"))
    storages = storages_from(file.get("image_storages", {}), errors)
    hosts = hosts_from(file.get("hosts", {}), errors)
    errors += wrong_together(storages.values())
    if errors:
        return empty, errors
    return (
        Declaration(
            host_id=host.get("id", host_name),
            image_storages=storages,
            listen=manager.get("listen", DEFAULT_LISTEN),
            certificate=manager.get("certificate", ""),
            key=manager.get("key", ""),
            database=manager.get("database", DEFAULT_DATABASE),
            host_timeout_s=float(manager.get("host_timeout_s", DEFAULT_HOST_TIMEOUT_S)),
            hosts=hosts,
            every_s={source: float(pause) for source, pause in manager.get("probe_every_s", {}).items()},
        ),
        errors,
    )


def _syntax_error(message: str) -> DeclarationError:
    """tomllib's message with its line; the dotted key where a table stands twice."""
    twice = _TWICE.match(message)
    if twice is None:
        return DeclarationError("", f"{message}; correct the TOML there")
    names = re.findall(r"'([^']*)'|\"([^\"]*)\"", twice["names"])
    return DeclarationError(
        dotted(*(single or double for single, double in names)),
        f"is declared twice, again at line {twice['line']}; keep one, or give it another id",
    )


# --- writing ------------------------------------------------------------------------------------


def _certificate_lines(declaration: Declaration) -> Iterator[str]:
    if declaration.certificate:
        yield f"certificate = {quoted(declaration.certificate)}    # PEM, with those that sign it"
        yield f"key = {quoted(declaration.key)}"


def _pace_lines(every_s: Mapping[str, float]) -> Iterator[str]:
    if every_s:
        paces = ", ".join(f"{source} = {_number(pause)}" for source, pause in every_s.items())
        yield f"probe_every_s = {{ {paces} }}    # pauses that are not the sources' own"


def _volume_lines(table: str, volume: Volume) -> Iterator[str]:
    yield f"[{table}.{section_of(volume)}.{dotted(volume.volume_id)}]"
    if volume.primary_disk_id:
        yield f"primary_disk_id = {quoted(volume.primary_disk_id)}    # as scsi_id -g -u prints it"
    if volume.gvolume_name:
        yield f"gvolume_name = {quoted(volume.gvolume_name)}"
    yield f"mount_point = {quoted(volume.mount_point)}"
    if volume.source:
        yield f"source = {quoted(volume.source)}    # what must be mounted there"
    if volume.mounted is not None:
        yield f"mounted = {'true' if volume.mounted else 'false'}"
    if volume.aliases:
        yield f"aliases = [{', '.join(quoted(alias) for alias in volume.aliases)}]"


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
