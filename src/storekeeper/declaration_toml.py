"""The declaration's TOML: read, checked as a whole, and written.

Every key that may stand in the file is a row of one of the tables below; everything wrong with a file
is found in one pass, each with its dotted key and what to write instead.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from itertools import chain
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from storekeeper import declaration_values as values
from storekeeper.declaration import (
    DEFAULT_DATABASE,
    DEFAULT_LISTEN,
    Declaration,
    ImageStorage,
    Volume,
    VolumeKind,
)
from storekeeper.errors import DeclarationError

DEFAULT_HOST_TIMEOUT_S = 60.0
DEFAULT_ROOT = "/storekeeper"

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")
_TWICE = re.compile(r"Cannot declare \((?P<names>.*)\) twice \(at line (?P<line>\d+)")

Errors = list[DeclarationError]
Check = Callable[[object], str]


class _Key(NamedTuple):
    """One key of a table: `check` says what is wrong with its value, `""` when nothing is."""

    check: Check
    needed: str = ""


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
        f"listen = {_quoted(declaration.listen)}    # a loopback address",
        f"database = {_quoted(declaration.database)}",
        f"host_timeout_s = {_number(declaration.host_timeout_s)}    # a host silent for longer is unknown",
        "",
        "[host]",
        f"id = {_quoted(declaration.host_id)}",
    ]
    for storage in declaration.image_storages.values():
        hosts = ", ".join(_quoted(host) for host in storage.hosts)
        table = _dotted("image_storages", storage.image_storage_id)
        lines += ["", "# One pool of images, reached by these hosts.", f"[{table}]", f"hosts = [{hosts}]"]
        for volume in storage.volumes:
            lines += ["", *_volume_lines(table, volume)]
    return "\n".join(lines) + "\n"


# --- tables -------------------------------------------------------------------------------------

_MANAGER = {
    "listen": _Key(values.listen),
    "database": _Key(values.database),
    "host_timeout_s": _Key(values.seconds),
}
_HOST = {"id": _Key(values.identifier)}
_KINDS: dict[str, VolumeKind] = {
    "volumes": "ocfs2",
    "external_volumes": "external",
    "gluster_volumes": "gluster",
}
_VOLUME: dict[str, dict[str, _Key]] = {
    "volumes": {
        "primary_disk_id": _Key(
            values.text, "the id of its disk, as /lib/udev/scsi_id -g -u DEVICE prints it"
        ),
        "mount_point": _Key(values.path),
    },
    "external_volumes": {
        "mount_point": _Key(values.path, "the directory where it is mounted on each host"),
        "source": _Key(values.text),
        "mounted": _Key(values.boolean),
        "aliases": _Key(values.aliases),
    },
    "gluster_volumes": {
        "gvolume_name": _Key(values.gvolume_name, "its name, as `gluster volume list` prints it"),
        "mount_point": _Key(values.path),
    },
}
_TOP = ("manager", "host", "image_storages")
_STORAGE = {"hosts": _Key(values.hosts, 'the hosts that reach it, such as ["flexdev01"]')}


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
    _refuse_unknown(file, _TOP, "", errors)
    manager = _table(file, "manager", "manager", errors)
    host = _table(file, "host", "host", errors)
    _check_keys(manager, _MANAGER, "manager", errors)
    _check_keys(host, _HOST, "host", errors)
    if "id" not in host and (wrong := values.identifier(host_name)):
        errors.append(DeclarationError("host.id", f"is missing, and this host's name {wrong}"))
    storages = {}
    for storage_id, table in _table(file, "image_storages", "image_storages", errors).items():
        storage = _storage(storage_id, table, errors)
        if storage is not None:
            storages[storage_id] = storage
    volumes = list(chain.from_iterable(storage.volumes for storage in storages.values()))
    errors += _places_in_each_other(volumes)
    errors += _disks_used_twice(volumes)
    if errors:
        return empty, errors
    return (
        Declaration(
            host_id=host.get("id", host_name),
            image_storages=storages,
            listen=manager.get("listen", DEFAULT_LISTEN),
            database=manager.get("database", DEFAULT_DATABASE),
            host_timeout_s=float(manager.get("host_timeout_s", DEFAULT_HOST_TIMEOUT_S)),
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
        _dotted(*(single or double for single, double in names)),
        f"is declared twice, again at line {twice['line']}; keep one, or give it another id",
    )


def _storage(storage_id: str, table: object, errors: Errors) -> ImageStorage | None:
    """One image storage; None when not even its outline can be understood."""
    key = _dotted("image_storages", storage_id)
    if wrong := values.identifier(storage_id):
        errors.append(DeclarationError(key, f"the id {wrong}"))
    if not isinstance(table, dict):
        errors.append(DeclarationError(key, f"is {values.shown(table)}; write a table, [{key}]"))
        return None
    _check_keys(table, _STORAGE, key, errors, tuple(_KINDS))
    volumes: list[Volume] = []
    taken: dict[str, str] = {}
    for section in _KINDS:
        section_key = _dotted("image_storages", storage_id, section)
        for volume_id, table_of_volume in _table(table, section, section_key, errors).items():
            volume_key = _dotted("image_storages", storage_id, section, volume_id)
            if wrong := values.identifier(volume_id):
                errors.append(DeclarationError(volume_key, f"the id {wrong}"))
            if volume_id in taken:
                text = f"the id is that of {taken[volume_id]} too; give one of them another id"
                errors.append(DeclarationError(volume_key, text))
            taken.setdefault(volume_id, volume_key)
            volume = _volume(storage_id, volume_id, section, table_of_volume, errors)
            if volume is not None:
                volumes.append(volume)
    hosts = table.get("hosts")
    return ImageStorage(
        image_storage_id=storage_id,
        hosts=tuple(hosts) if isinstance(hosts, list) else (),
        volumes=tuple(volumes),
    )


def _volume(storage_id: str, volume_id: str, section: str, table: object, errors: Errors) -> Volume | None:
    """One volume with its defaults, of those values that can be used; None when its place cannot."""
    key = _dotted("image_storages", storage_id, section, volume_id)
    if not isinstance(table, dict):
        errors.append(DeclarationError(key, f"is {values.shown(table)}; write a table, [{key}]"))
        return None
    keys = _VOLUME[section]
    _check_keys(table, keys, key, errors)
    good = {name: value for name, value in table.items() if name in keys and not keys[name].check(value)}
    if "mount_point" not in good and (keys["mount_point"].needed or "mount_point" in table):
        return None
    return Volume(
        volume_id=volume_id,
        image_storage_id=storage_id,
        kind=_KINDS[section],
        mount_point=good.get("mount_point", f"{DEFAULT_ROOT}/{volume_id}"),
        primary_disk_id=good.get("primary_disk_id", ""),
        source=good.get("source", ""),
        gvolume_name=good.get("gvolume_name", ""),
        mounted=good.get("mounted"),
        aliases=tuple(good.get("aliases", ())),
    )


def _table(parent: dict[str, Any], name: str, key: str, errors: Errors) -> dict[str, Any]:
    """The table of that name, empty when it is not there or is none."""
    value = parent.get(name, {})
    if isinstance(value, dict):
        return value
    errors.append(DeclarationError(key, f"is {values.shown(value)}; write a table, [{key}]"))
    return {}


def _refuse_unknown(table: dict[str, Any], known: tuple[str, ...], key: str, errors: Errors) -> None:
    for name in table:
        if name in known:
            continue
        near = get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Here may stand: {', '.join(known)}."
        where = f"{key}.{_dotted(name)}" if key else _dotted(name)
        errors.append(DeclarationError(where, f"is not a key of Storekeeper. {hint}"))


def _check_keys(
    table: dict[str, Any], keys: dict[str, _Key], key: str, errors: Errors, tables: tuple[str, ...] = ()
) -> None:
    """Checks the values of a table's keys; beside them only these `tables` may stand in it."""
    _refuse_unknown(table, (*keys, *tables), key, errors)
    for name, row in keys.items():
        if name in table:
            if wrong := row.check(table[name]):
                errors.append(DeclarationError(f"{key}.{name}", wrong))
        elif row.needed:
            errors.append(DeclarationError(f"{key}.{name}", f"is missing; write {row.needed}"))


# --- rules over all volumes ---------------------------------------------------------------------


def _key_of(volume: Volume) -> str:
    section = next(section for section, kind in _KINDS.items() if kind == volume.kind)
    return _dotted("image_storages", volume.image_storage_id, section, volume.volume_id)


def _places_in_each_other(volumes: list[Volume]) -> Iterator[DeclarationError]:
    """Mount points that are equal or lie in each other: each image would be two volumes' at once."""
    places: dict[str, Volume] = {}
    for volume in volumes:
        if volume.mount_point in places:
            text = f"{volume.mount_point!r} is that of {_key_of(places[volume.mount_point])} too"
            yield DeclarationError(
                f"{_key_of(volume)}.mount_point", f"{text}; give each volume a directory of its own"
            )
        else:
            places[volume.mount_point] = volume
    for volume in volumes:
        for above in PurePosixPath(volume.mount_point).parents:
            if str(above) in places:
                text = (
                    f"{volume.mount_point!r} lies in {str(above)!r}, which is {_key_of(places[str(above)])}"
                )
                yield DeclarationError(
                    f"{_key_of(volume)}.mount_point", f"{text}; write a directory outside of it"
                )


def _disks_used_twice(volumes: list[Volume]) -> Iterator[DeclarationError]:
    owners: dict[str, Volume] = {}
    for volume in volumes:
        if volume.primary_disk_id and volume.primary_disk_id in owners:
            text = f"{volume.primary_disk_id!r} is the disk of {_key_of(owners[volume.primary_disk_id])} too"
            yield DeclarationError(
                f"{_key_of(volume)}.primary_disk_id", f"{text}; give each volume a disk of its own"
            )
        owners.setdefault(volume.primary_disk_id, volume)


# --- writing ------------------------------------------------------------------------------------


def _volume_lines(table: str, volume: Volume) -> Iterator[str]:
    section = next(section for section, kind in _KINDS.items() if kind == volume.kind)
    yield f"[{table}.{section}.{_dotted(volume.volume_id)}]"
    if volume.primary_disk_id:
        yield f"primary_disk_id = {_quoted(volume.primary_disk_id)}    # as scsi_id -g -u prints it"
    if volume.gvolume_name:
        yield f"gvolume_name = {_quoted(volume.gvolume_name)}"
    yield f"mount_point = {_quoted(volume.mount_point)}"
    if volume.source:
        yield f"source = {_quoted(volume.source)}    # what must be mounted there"
    if volume.mounted is not None:
        yield f"mounted = {'true' if volume.mounted else 'false'}"
    if volume.aliases:
        yield f"aliases = [{', '.join(_quoted(alias) for alias in volume.aliases)}]"


def _dotted(*names: str) -> str:
    """A dotted key as it may stand in the file, what is no bare key in quotes."""
    return ".".join(name if _BARE_KEY.match(name) else _quoted(name) for name in names)


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _quoted(text: str) -> str:
    # A JSON string is a TOML basic string, save DEL, which no checked value holds.
    return json.dumps(text, ensure_ascii=False)
