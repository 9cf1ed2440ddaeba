"""What is served: the objects of the Image Storage API, as clients know them.

Field names, types and units (KB, MB) are those of the API page "Getting full information from a
certain Image Storage". Nothing else in the package knows a JSON name. Nothing is added to these
objects: what is known beyond them has routes and objects of its own (`detail` objects below).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

from storekeeper.credentials import Role

Status = Literal["unknown", "ok", "degraded", "broken"]


class ImageInfo(Struct, frozen=True, gc=False):
    """A disk image on a volume. `size_mb`: virtual size in MiB, rounded up."""

    image_id: str
    volume_id: str
    image_storage_id: str
    guest_id: str
    size_mb: int


class CloneInfo(Struct, frozen=True, gc=False):
    """A cloned disk image; `image_id` is its parent's."""

    clone_id: str
    image_id: str
    guest_id: str


class VolumeInfo(Struct, frozen=True, kw_only=True):
    """An OCFS2 volume on a shared SCSI disk. Spaces in KB (KiB, as `df -k`)."""

    volume_id: str
    primary_disk_id: str
    status: Status
    status_msg: str
    total_space: int
    free_space: int
    images: Sequence[ImageInfo]
    clones: Sequence[CloneInfo]


class ExternalVolumeInfo(Struct, frozen=True, kw_only=True):
    """A volume mounted by the administrator: NFS, CIFS, a local directory. Spaces in KB."""

    volume_id: str
    mount_point: str
    status: Status
    status_msg: str
    total_space: int
    free_space: int
    images: Sequence[ImageInfo]
    clones: Sequence[CloneInfo]


class GlusterVolumeInfo(Struct, frozen=True, kw_only=True):
    """A Gluster volume; `bricks` as `host:/path` in the order gluster lists them. Spaces in KB."""

    volume_id: str
    gvolume_name: str
    status: Status
    status_msg: str
    total_space: int
    free_space: int
    bricks: list[str]
    type: str
    configuration: str
    transport: str
    images: Sequence[ImageInfo]
    clones: Sequence[CloneInfo]


class PhysicalDiskInfo(Struct, frozen=True, gc=False):
    """A disk usable on the Image Storage: reserved (`volume_id`) or free (`volume_id` empty)."""

    physical_disk_id: str
    product_number: str
    vendor: str
    host_device: str
    volume_id: str


class ImageStorageInfo(Struct, frozen=True, kw_only=True):
    """The answer to `GET /imagestorages/{id}`."""

    hosts: list[str]
    volumes: list[VolumeInfo]
    external_volumes: list[ExternalVolumeInfo]
    gluster_volumes: list[GlusterVolumeInfo]
    disks: list[PhysicalDiskInfo]


class ImageStorageBasicInfo(Struct, frozen=True, kw_only=True):
    """One row of `GET /imagestorages`."""

    image_storage_id: str
    hosts: list[str]


class ErrorMessage(Struct, frozen=True, kw_only=True):
    """Every answer that is no success. `code` is a stable word for programs."""

    message: str
    code: str
    status: str = "Error"


class ManagerVersion(Struct, frozen=True, kw_only=True):
    """A version in its parts, as text."""

    major: str
    minor: str
    release: str


class ManagerInfo(Struct, frozen=True, kw_only=True):
    """The answer to `GET /managerinfo`. `capabilities`: words for what it can do, only ever added to."""

    version: ManagerVersion
    manager_id: str
    capabilities: list[str]


class ManagerResult(Struct, frozen=True, kw_only=True):
    """An answer that holds no more than that all is well: `GET /healthz`."""

    status: Literal["OK"] = "OK"
    message: str = ""


class DeclarationInfo(Struct, frozen=True, kw_only=True):
    """The answer to `GET /declaration`: the tables `image_storages` and `hosts`, as in a declaration's file.

    `declared`: through the API. `file`: in the manager's own file.
    """

    declared: dict[str, Any]
    file: dict[str, Any]


HostState = Literal["running", "stopped", "unknown", "unavailable", "incompatible"]


class HostBasicInfo(Struct, frozen=True, kw_only=True):
    """One row of `GET /hosts`."""

    host_id: str
    status: HostState


class HostInfo(Struct, frozen=True, kw_only=True):
    """The answer to `GET /hosts/{id}`. Numbers are text, as in the API this comes from; `""` is unknown.

    `physical_ram` in MB. `error_msg`: why the host is not `running`, or what is wrong with its reports.
    """

    host_id: str
    hypervisor: str
    cpu_type: str
    description: str
    physical_cores: str
    physical_ram: str
    host_address: str
    desired_state: Literal["running"]
    current_state: HostState
    error_msg: str
    image_storages: list[str]
    agent_version: str
    last_report: str


class HostRow(HostInfo, frozen=True, kw_only=True):
    """What a row of `GET /hosts` has where more `fields` are asked for."""

    status: HostState


class JoinToken(Struct, frozen=True, kw_only=True):
    """With which one machine may become a host, once. `fingerprint`: of the manager's certificate, to pin;
    `""` without one.
    """

    host_id: str
    token: str
    expires_at: str
    fingerprint: str


class TokenWish(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /tokens`. `name`: whom it is for. `expires_s`: seconds from now; 0: never."""

    role: Role
    name: str = ""
    expires_s: float = 0.0


class TokenInfo(Struct, frozen=True, kw_only=True):
    """A person's token, without what proves it: a row of `GET /tokens`. Times are RFC 3339; `""`: never."""

    token_id: str
    name: str
    role: Role
    created_at: str
    expires_at: str


class TokenMade(Struct, frozen=True, kw_only=True):
    """The answer to `POST /tokens`: `token` is shown this once."""

    token_id: str
    name: str
    role: Role
    created_at: str
    expires_at: str
    token: str


class GuestBasicInfo(Struct, frozen=True, kw_only=True):
    """One row of `GET /guests`. `current_host` is `""` where it does not run.

    Always `""`, since no host can tell: `pool_id`, the share of hosts' CPUs and RAM that a VDI manager gave
    the guest (no storage pool of libvirt's), and `desired_state`, what that manager was asked to make of it
    (libvirt's autostart only says what happens when the host boots).
    """

    guest_id: str
    guest_type: Literal["normal", "template", "clone", "volatile"]
    pool_id: str
    desired_state: str
    current_state: Literal["unknown", "running", "stopped", "paused", "suspended", "migrating"]
    current_host: str


class GuestInfo(Struct, frozen=True, kw_only=True):
    """The answer to `GET /guests/{id}`. `pool_id` and `desired_state` as in GuestBasicInfo. `disk_list`: its
    images and clones; `direct_disk_list`: disks given to it whole.
    """

    guest_id: str
    guest_type: Literal["normal", "template", "clone", "volatile"]
    pool_id: str
    desired_state: str
    current_state: Literal["unknown", "running", "stopped", "paused", "suspended", "migrating"]
    current_host: str
    uuid: str
    hosts: list[str]
    parent_template: str
    clone_list: list[str]
    disk_list: list[DiskInfo]
    direct_disk_list: list[str]


class DiskInfo(Struct, frozen=True, gc=False):
    """An image or clone that a guest owns."""

    image_id: str
    volume_id: str
    image_storage_id: str
    size_mb: int


class FaultDetail(Struct, frozen=True, gc=False):
    """Something that could not be seen, or that lies. `code` is stable, `text` a sentence."""

    code: str
    text: str


class ImageDetail(Struct, frozen=True, kw_only=True):
    """All that is known of one image or clone: a row of `GET /imagestorages/{id}/images`.

    Sizes in bytes; `-1` and `""` stand for what is not known. Times are RFC 3339 in UTC.
    """

    image_id: str
    volume_id: str
    image_storage_id: str
    kind: Literal["image", "clone"]
    guests: list[str]
    format: str
    format_version: str
    virtual_bytes: int
    file_bytes: int
    allocated_bytes: int
    shared_bytes: int
    exclusive_bytes: int
    thin: bool
    encryption: str
    internal_snapshots: int
    parent_image_id: str
    parent_volume_id: str
    parent_format: str
    parent_by: Literal["", "header", "extents"]
    data_file: str
    modified_at: str
    seen_at: str
    faults: list[FaultDetail]


class DiskDetail(Struct, frozen=True, kw_only=True):
    """A disk of one host and why it is or is not usable: a row of `GET /imagestorages/{id}/disks`."""

    physical_disk_id: str
    host_id: str
    device: str
    vendor: str
    product_number: str
    serial: str
    size_bytes: int
    transport: str
    paths: list[str]
    usable: bool
    volume_id: str
    reasons: list[str]
