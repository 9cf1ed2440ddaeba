"""What an admin declares: hosts, image storages and their volumes; read from TOML and checked.

Defaults are filled in here, so that everybody else sees whole declarations.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

VolumeKind = Literal["ocfs2", "external", "gluster"]

DEFAULT_PATH = "/etc/storekeeper/storekeeper.toml"
DEFAULT_LISTEN = "127.0.0.1:8017"
DEFAULT_DATABASE = "sqlite:///var/lib/storekeeper/storekeeper.db"


class Volume(Struct, frozen=True, kw_only=True):
    """A declared volume. `mount_point` is absolute and normal; `mounted` is None when not said."""

    volume_id: str
    image_storage_id: str
    kind: VolumeKind
    mount_point: str
    primary_disk_id: str = ""
    source: str = ""
    gvolume_name: str = ""
    mounted: bool | None = None
    aliases: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """`STORAGE/VOLUME`: the name of this volume's scope in every report."""
        return f"{self.image_storage_id}/{self.volume_id}"


class ImageStorage(Struct, frozen=True, kw_only=True):
    """A declared image storage. `hosts` in the admin's order: the first names devices."""

    image_storage_id: str
    hosts: tuple[str, ...]
    volumes: tuple[Volume, ...]


class Host(Struct, frozen=True, kw_only=True):
    """A declared host: one that may join. Hosts that a storage links are declared by that alone."""

    host_id: str
    description: str = ""


class Declared(Struct, frozen=True, kw_only=True):
    """What was declared through the API, as the database holds it."""

    image_storages: dict[str, ImageStorage] = {}
    hosts: dict[str, Host] = {}


class Declaration(Struct, frozen=True, kw_only=True):
    """Everything declared. `host_id` is this host's; `found` when no file was there and this is what
    the host was seen to have. `certificate`, `key`: files of PEM that HTTPS is served with, `""` for the
    manager's own. Time-outs in seconds. `every_s`: pauses of sources that are not their own.
    """

    host_id: str
    image_storages: dict[str, ImageStorage]
    listen: str = DEFAULT_LISTEN
    certificate: str = ""
    key: str = ""
    database: str = DEFAULT_DATABASE
    host_timeout_s: float = 60.0
    found: bool = False
    hosts: dict[str, Host] = {}
    every_s: dict[str, float] = {}
