"""Changes of what is declared: each a pure function from what was declared to what is from now on.

What the manager's own file declares is not the API's to change. Whatever is added is read by the rules of
`declaration_tables` and checked together with all the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from msgspec.structs import replace

from storekeeper.declaration import Declaration, Declared, ImageStorage
from storekeeper.declaration_tables import (
    SECTIONS,
    Errors,
    as_table,
    host_from,
    hosts_from,
    refuse_unknown,
    section_of,
    storage_from,
    storage_table,
    storages_from,
    wrong_together,
)
from storekeeper.errors import Conflict, DeclarationError, NoSuchObject

T = TypeVar("T")


def combined(file: Declaration, declared: Declared) -> Declaration:
    """All that holds: what the manager's file declares, and beside it what was declared through the API.

    Of one id the file's holds. What was found for want of a file gives way to the first storage declared.
    """
    found = file.found and not declared.image_storages
    own = file.image_storages if found else of_file(file).image_storages
    return replace(
        file,
        image_storages=own | {key: one for key, one in declared.image_storages.items() if key not in own},
        hosts={**declared.hosts, **file.hosts},
        found=found,
    )


def of_file(file: Declaration) -> Declared:
    """What the manager's own file declares: nothing, where there is none."""
    return Declared(image_storages={} if file.found else file.image_storages, hosts=file.hosts)


# --- image storages -----------------------------------------------------------------------------


def add_storage(file: Declaration, declared: Declared, storage_id: str, table: object) -> Declared:
    """With a further image storage, read from its table.

    Raises:
        Conflict: the id is taken.
        DeclarationError: all that is wrong with the table, or with it among the others.
    """
    if storage_id in declared.image_storages or storage_id in of_file(file).image_storages:
        raise Conflict(f"There is an image storage {storage_id!r} already; change it, or take another id.")
    return _with_storage(file, declared, storage_id, table)


def replace_storage(file: Declaration, declared: Declared, storage_id: str, table: object) -> Declared:
    """With an image storage as its table says; tables of volumes that it leaves out stay as they are.

    Raises:
        NoSuchObject, Conflict (it is the file's), DeclarationError.
    """
    former = _changeable(file, declared, storage_id)
    if isinstance(table, dict):
        kept = {name: value for name, value in storage_table(former).items() if name in SECTIONS}
        table = {**kept, **table}
    return _with_storage(file, declared, storage_id, table)


def remove_storage(file: Declaration, declared: Declared, storage_id: str) -> Declared:
    """Without an image storage and its volumes.

    Raises:
        NoSuchObject, Conflict (it is the file's).
    """
    _changeable(file, declared, storage_id)
    return replace(declared, image_storages=_without(declared.image_storages, storage_id))


def _changeable(file: Declaration, declared: Declared, storage_id: str) -> ImageStorage:
    """The storage, which may be changed."""
    own = of_file(file).image_storages
    if storage_id in own:
        raise Conflict(
            f"Image storage {storage_id!r} is declared in the manager's own file; change it there, "
            "or take it out there first."
        )
    if storage_id not in declared.image_storages:
        raise NoSuchObject("declared image storage", storage_id, (*declared.image_storages, *own))
    return declared.image_storages[storage_id]


def _with_storage(file: Declaration, declared: Declared, storage_id: str, table: object) -> Declared:
    errors: Errors = []
    storage = storage_from(storage_id, table, errors)
    _raise(errors)
    assert storage is not None  # noqa: S101  (there was no error)
    # Last, so that it is the one that is told to lie elsewhere.
    others = _without(declared.image_storages, storage_id)
    return _checked(file, replace(declared, image_storages={**others, storage_id: storage}))


# --- volumes ------------------------------------------------------------------------------------


def add_volume(
    file: Declaration, declared: Declared, storage_id: str, section: str, volume_id: str, table: object
) -> Declared:
    """With a further volume in the table `section` of a storage.

    Raises:
        NoSuchObject (the storage), Conflict (it is the file's, the id is taken), DeclarationError.
    """
    storage = _changeable(file, declared, storage_id)
    if any(volume.volume_id == volume_id for volume in storage.volumes):
        raise Conflict(f"{storage_id!r} has a volume {volume_id!r} already; change it, or take another id.")
    return _with_volume(file, declared, storage, section, volume_id, table)


def replace_volume(
    file: Declaration, declared: Declared, storage_id: str, section: str, volume_id: str, table: object
) -> Declared:
    """With a volume as its table says.

    Raises:
        NoSuchObject, Conflict (it is the file's), DeclarationError.
    """
    storage = _changeable(file, declared, storage_id)
    _check_volume(storage, section, volume_id)
    return _with_volume(file, declared, storage, section, volume_id, table)


def remove_volume(
    file: Declaration, declared: Declared, storage_id: str, section: str, volume_id: str
) -> Declared:
    """Without a volume.

    Raises:
        NoSuchObject, Conflict (it is the file's).
    """
    storage = _changeable(file, declared, storage_id)
    _check_volume(storage, section, volume_id)
    left = tuple(volume for volume in storage.volumes if volume.volume_id != volume_id)
    storages = {**declared.image_storages, storage_id: replace(storage, volumes=left)}
    return replace(declared, image_storages=storages)


def _check_volume(storage: ImageStorage, section: str, volume_id: str) -> None:
    known = tuple(volume.volume_id for volume in storage.volumes if section_of(volume) == section)
    if volume_id not in known:
        raise NoSuchObject(f"volume in {section} of {storage.image_storage_id!r}", volume_id, known)


def _with_volume(
    file: Declaration, declared: Declared, storage: ImageStorage, section: str, volume_id: str, table: object
) -> Declared:
    whole = storage_table(storage)
    whole[section] = {**whole.get(section, {}), volume_id: table}
    return _with_storage(file, declared, storage.image_storage_id, whole)


# --- hosts --------------------------------------------------------------------------------------


def add_host(file: Declaration, declared: Declared, host_id: str, table: object) -> Declared:
    """With a further host. One that a storage links already may be added too: it gets a description so.

    Raises:
        Conflict: the id is taken.
        DeclarationError: what is wrong with its table.
    """
    if host_id in declared.hosts or host_id in file.hosts:
        raise Conflict(f"There is a host {host_id!r} already; change it, or take another id.")
    return _with_host(declared, host_id, table)


def replace_host(file: Declaration, declared: Declared, host_id: str, table: object) -> Declared:
    """With a host as its table says.

    Raises:
        NoSuchObject, Conflict (it is the file's), DeclarationError.
    """
    _check_host(file, declared, host_id)
    return _with_host(declared, host_id, table)


def remove_host(file: Declaration, declared: Declared, host_id: str) -> Declared:
    """Without a host.

    Raises:
        NoSuchObject, Conflict (it is the file's, or a storage links it).
    """
    _check_host(file, declared, host_id)
    linking = _linking(combined(file, declared).image_storages.values(), host_id)
    if linking:
        raise Conflict(
            f"Host {host_id!r} is linked to {', '.join(linking)}; take it out of the hosts there first."
        )
    return replace(declared, hosts=_without(declared.hosts, host_id))


def hosts_gone(file: Declaration, before: Declared, after: Declared) -> set[str]:
    """The hosts whose own declaration was removed and that are not declared by anything else."""
    left = combined(file, after)
    linked = {host_id for storage in left.image_storages.values() for host_id in storage.hosts}
    return before.hosts.keys() - left.hosts.keys() - linked


def _check_host(file: Declaration, declared: Declared, host_id: str) -> None:
    if host_id in file.hosts:
        raise Conflict(f"Host {host_id!r} is declared in the manager's own file; change it there.")
    storages = combined(file, declared).image_storages.values()
    if host_id not in declared.hosts and not _linking(storages, host_id):
        linked = {linked for storage in storages for linked in storage.hosts}
        raise NoSuchObject("declared host", host_id, tuple(linked | set(declared.hosts) | set(file.hosts)))


def _linking(storages: Iterable[ImageStorage], host_id: str) -> list[str]:
    return [storage.image_storage_id for storage in storages if host_id in storage.hosts]


def _with_host(declared: Declared, host_id: str, table: object) -> Declared:
    errors: Errors = []
    host = host_from(host_id, table, errors)
    _raise(errors)
    return replace(declared, hosts={**declared.hosts, host_id: host})


# --- all at once --------------------------------------------------------------------------------


def declared_from(tables: object) -> Declared:
    """What the tables `image_storages` and `hosts` declare, as `declaration_tables.tables_of` makes them.

    Raises:
        DeclarationError: all that is wrong with them.
    """
    errors: Errors = []
    found = as_table(tables, "declaration", errors)
    refuse_unknown(found, ("image_storages", "hosts"), "", errors)
    storages = storages_from(found.get("image_storages", {}), errors)
    hosts = hosts_from(found.get("hosts", {}), errors)
    _raise(errors)
    return Declared(image_storages=storages, hosts=hosts)


def replace_all(file: Declaration, tables: object) -> Declared:
    """What tables declare, in place of everything that was declared through the API.

    Raises:
        Conflict: something in it is the file's.
        DeclarationError: all that is wrong with it.
    """
    wanted = declared_from(tables)
    own = of_file(file)
    taken = [
        *(f"image storage {name!r}" for name in wanted.image_storages if name in own.image_storages),
        *(f"host {name!r}" for name in wanted.hosts if name in own.hosts),
    ]
    if taken:
        raise Conflict(f"The manager's own file declares {', '.join(taken)}; change that there.")
    return _checked(file, wanted)


def _checked(file: Declaration, declared: Declared) -> Declared:
    _raise(wrong_together(combined(file, declared).image_storages.values()))
    return declared


def _raise(errors: Errors) -> None:
    """Raises all of them as one error, each on a line of its own."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise DeclarationError("", "\n".join(str(error) for error in errors))


def _without(known: Mapping[str, T], name: str) -> dict[str, T]:
    return {each: value for each, value in known.items() if each != name}
