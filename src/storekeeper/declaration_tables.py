"""The tables of a declaration: what may stand in them, read from plain dicts and made of them again.

The same rules hold for the file's TOML and for the JSON of the API. Every key that may stand in a table is
a row below; everything that is wrong is found in one pass, each with its dotted key and what to write
instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from itertools import chain
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from storekeeper import declaration_values as values
from storekeeper.declaration import Host, ImageStorage, Volume, VolumeKind
from storekeeper.errors import DeclarationError

DEFAULT_ROOT = "/storekeeper"

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")

Errors = list[DeclarationError]
Table = dict[str, Any]
Check = Callable[[object], str]


class Key(NamedTuple):
    """One key of a table: `check` says what is wrong with its value, `""` when nothing is."""

    check: Check
    needed: str = ""


# The tables of volumes in a storage, and what kind each holds.
SECTIONS: dict[str, VolumeKind] = {
    "volumes": "ocfs2",
    "external_volumes": "external",
    "gluster_volumes": "gluster",
}
_VOLUME: dict[str, dict[str, Key]] = {
    "volumes": {
        "primary_disk_id": Key(
            values.text, "the id of its disk, as /lib/udev/scsi_id -g -u DEVICE prints it"
        ),
        "mount_point": Key(values.path),
    },
    "external_volumes": {
        "mount_point": Key(values.path, "the directory where it is mounted on each host"),
        "source": Key(values.text),
        "mounted": Key(values.boolean),
        "aliases": Key(values.aliases),
    },
    "gluster_volumes": {
        "gvolume_name": Key(values.gvolume_name, "its name, as `gluster volume list` prints it"),
        "mount_point": Key(values.path),
    },
}
_STORAGE = {"hosts": Key(values.hosts, 'the hosts that reach it, such as ["flexdev01"]')}

_HOST = {"description": Key(values.text)}


def storages_from(tables: object, errors: Errors) -> dict[str, ImageStorage]:
    """The image storages of the table `image_storages`, as far as they can be understood."""
    found = {}
    for storage_id, table in as_table(tables, "image_storages", errors).items():
        storage = storage_from(storage_id, table, errors)
        if storage is not None:
            found[storage_id] = storage
    return found


def hosts_from(tables: object, errors: Errors) -> dict[str, Host]:
    """The hosts of the table `hosts`, as far as they can be understood."""
    return {
        host_id: host_from(host_id, table, errors)
        for host_id, table in as_table(tables, "hosts", errors).items()
    }


def host_from(host_id: str, table: object, errors: Errors) -> Host:
    """One host of what can be used of its table."""
    key = dotted("hosts", host_id)
    _check_id(host_id, key, errors)
    found = as_table(table, key, errors)
    check_keys(found, _HOST, key, errors)
    description = found.get("description", "")
    return Host(host_id=host_id, description=description if isinstance(description, str) else "")


def storage_from(storage_id: str, table: object, errors: Errors) -> ImageStorage | None:
    """One image storage; None when not even its outline can be understood."""
    key = dotted("image_storages", storage_id)
    _check_id(storage_id, key, errors)
    if not isinstance(table, dict):
        errors.append(DeclarationError(key, f"is {values.shown(table)}; write a table, [{key}]"))
        return None
    check_keys(table, _STORAGE, key, errors, tuple(SECTIONS))
    volumes: list[Volume] = []
    taken: dict[str, str] = {}
    for section in SECTIONS:
        section_key = dotted("image_storages", storage_id, section)
        for volume_id, table_of_volume in as_table(table.get(section, {}), section_key, errors).items():
            volume_key = dotted("image_storages", storage_id, section, volume_id)
            _check_id(volume_id, volume_key, errors)
            if volume_id in taken:
                text = f"the id is that of {taken[volume_id]} too; give one of them another id"
                errors.append(DeclarationError(volume_key, text))
            taken.setdefault(volume_id, volume_key)
            volume = volume_from(storage_id, volume_id, section, table_of_volume, errors)
            if volume is not None:
                volumes.append(volume)
    hosts = table.get("hosts")
    return ImageStorage(
        image_storage_id=storage_id,
        hosts=tuple(hosts) if isinstance(hosts, list) else (),
        volumes=tuple(volumes),
    )


def volume_from(
    storage_id: str, volume_id: str, section: str, table: object, errors: Errors
) -> Volume | None:
    """One volume with its defaults, of those values that can be used; None when its place cannot."""
    key = dotted("image_storages", storage_id, section, volume_id)
    if not isinstance(table, dict):
        errors.append(DeclarationError(key, f"is {values.shown(table)}; write a table, [{key}]"))
        return None
    keys = _VOLUME[section]
    check_keys(table, keys, key, errors)
    good = {name: value for name, value in table.items() if name in keys and not keys[name].check(value)}
    if "mount_point" not in good and (keys["mount_point"].needed or "mount_point" in table):
        return None
    return Volume(
        volume_id=volume_id,
        image_storage_id=storage_id,
        kind=SECTIONS[section],
        mount_point=good.get("mount_point", f"{DEFAULT_ROOT}/{volume_id}"),
        primary_disk_id=good.get("primary_disk_id", ""),
        source=good.get("source", ""),
        gvolume_name=good.get("gvolume_name", ""),
        mounted=good.get("mounted"),
        aliases=tuple(good.get("aliases", ())),
    )


def as_table(value: object, key: str, errors: Errors) -> Table:
    """The table that a value is; an empty one, and an error, when it is none."""
    if isinstance(value, dict):
        return value
    errors.append(DeclarationError(key, f"is {values.shown(value)}; write a table, [{key}]"))
    return {}


def _check_id(identifier: str, key: str, errors: Errors) -> None:
    if wrong := values.identifier(identifier):
        errors.append(DeclarationError(key, f"the id {wrong}"))


def refuse_unknown(table: Table, known: Collection[str], key: str, errors: Errors) -> None:
    """Adds an error for every key that is not known, with the nearest that is."""
    for name in table:
        if name in known:
            continue
        near = get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Here may stand: {', '.join(known)}."
        where = f"{key}.{dotted(name)}" if key else dotted(name)
        errors.append(DeclarationError(where, f"is not a key of Storekeeper. {hint}"))


def check_keys(
    table: Table, keys: Mapping[str, Key], key: str, errors: Errors, tables: tuple[str, ...] = ()
) -> None:
    """Checks the values of a table's keys; beside them only these `tables` may stand in it."""
    refuse_unknown(table, (*keys, *tables), key, errors)
    for name, row in keys.items():
        if name in table:
            if wrong := row.check(table[name]):
                errors.append(DeclarationError(f"{key}.{name}", wrong))
        elif row.needed:
            errors.append(DeclarationError(f"{key}.{name}", f"is missing; write {row.needed}"))


# --- rules over all volumes ---------------------------------------------------------------------


def wrong_together(storages: Iterable[ImageStorage]) -> Errors:
    """What volumes of all storages do not share: places, and disks."""
    volumes = list(chain.from_iterable(storage.volumes for storage in storages))
    return [*_places_in_each_other(volumes), *_disks_used_twice(volumes)]


def key_of(volume: Volume) -> str:
    """The dotted key of a volume's table."""
    return dotted("image_storages", volume.image_storage_id, section_of(volume), volume.volume_id)


def section_of(volume: Volume) -> str:
    """The table of its storage that a volume stands in."""
    return next(section for section, kind in SECTIONS.items() if kind == volume.kind)


def _places_in_each_other(volumes: list[Volume]) -> Iterator[DeclarationError]:
    """Mount points that are equal or lie in each other: each image would be two volumes' at once."""
    places: dict[str, Volume] = {}
    for volume in volumes:
        if volume.mount_point in places:
            text = f"{volume.mount_point!r} is that of {key_of(places[volume.mount_point])} too"
            yield DeclarationError(
                f"{key_of(volume)}.mount_point", f"{text}; give each volume a directory of its own"
            )
        else:
            places[volume.mount_point] = volume
    for volume in volumes:
        for above in PurePosixPath(volume.mount_point).parents:
            if str(above) in places:
                text = f"{volume.mount_point!r} lies in {str(above)!r}, which is {key_of(places[str(above)])}"
                yield DeclarationError(
                    f"{key_of(volume)}.mount_point", f"{text}; write a directory outside of it"
                )


def _disks_used_twice(volumes: list[Volume]) -> Iterator[DeclarationError]:
    owners: dict[str, Volume] = {}
    for volume in volumes:
        if volume.primary_disk_id and volume.primary_disk_id in owners:
            text = f"{volume.primary_disk_id!r} is the disk of {key_of(owners[volume.primary_disk_id])} too"
            yield DeclarationError(
                f"{key_of(volume)}.primary_disk_id", f"{text}; give each volume a disk of its own"
            )
        owners.setdefault(volume.primary_disk_id, volume)


# --- and back -----------------------------------------------------------------------------------


def tables_of(storages: Iterable[ImageStorage], hosts: Iterable[Host]) -> Table:
    """The tables of storages and hosts: read, they are the same again."""
    return {
        "image_storages": {storage.image_storage_id: storage_table(storage) for storage in storages},
        "hosts": {host.host_id: host_table(host) for host in hosts},
    }


def storage_table(storage: ImageStorage) -> Table:
    """The table of a storage, with those of its volumes."""
    table: Table = {"hosts": list(storage.hosts)}
    for volume in storage.volumes:
        table.setdefault(section_of(volume), {})[volume.volume_id] = volume_table(volume)
    return table


def volume_table(volume: Volume) -> Table:
    """The table of a volume, its place spelt out."""
    found = {
        "primary_disk_id": volume.primary_disk_id,
        "gvolume_name": volume.gvolume_name,
        "mount_point": volume.mount_point,
        "source": volume.source,
        "mounted": volume.mounted,
        "aliases": list(volume.aliases),
    }
    return {name: value for name, value in found.items() if value is False or value}


def host_table(host: Host) -> Table:
    """The table of a host."""
    return {"description": host.description} if host.description else {}


def dotted(*names: str) -> str:
    """A dotted key as it may stand in the file, what is no bare key in quotes."""
    return ".".join(name if _BARE_KEY.match(name) else quoted(name) for name in names)


def quoted(text: str) -> str:
    """A text as TOML and JSON write it."""
    # A JSON string is a TOML basic string, save DEL, which no checked value holds.
    return json.dumps(text, ensure_ascii=False)
