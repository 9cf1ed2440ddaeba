"""What image headers call other files, turned into images of the storage: as text only.

The forms are qemu's (`bdrv_get_full_backing_filename` and `path_has_protocol` in its block.c) and Windows'
(parent locators: MS-VHDX 2.6.2.6, and the VHD specification 1.0).
"""

from __future__ import annotations

import os
import posixpath
import re

import msgspec

from storekeeper.merge.places import Places, Ref
from storekeeper.naming import escape, unescape

_PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_GLUSTER = re.compile(r"gluster(?:\+[a-z]+)?://[^/]*/(?P<volume>[^/]+)/(?P<path>[^?]+)")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_WINDOWS_FORMATS = frozenset({"vhd", "vhdx", "vmdk", "vdi"})
_JSON_DEPTH = 8


def named(name: str, by: Ref, image_format: str, places: Places) -> Ref | None:
    """The image that the header of `by` calls `name`; None when that is nothing of this storage.

    Whether there is such a file is not asked here.
    """
    if image_format in _WINDOWS_FORMATS and ("\\" in name or _DRIVE.match(name)):
        return _windows(name, by, places)
    if name.startswith("json:"):
        inner = _from_json(unescape(name.removeprefix("json:")))
        if inner is None:
            return None
        name = inner
    if name.startswith("file:"):
        name = name.removeprefix("file:")
    elif gluster := _GLUSTER.match(name):
        volume_id = places.by_gluster_name.get(gluster["volume"])
        return (volume_id, posixpath.normpath(gluster["path"])) if volume_id else None
    elif _PROTOCOL.match(name):
        return None
    if not name:
        return None
    return places.find(name) if name.startswith("/") else places.find_from(by, name)


def _windows(name: str, by: Ref, places: Places) -> Ref | None:
    """A path of Windows: a relative one below the image's directory, of another one the last part."""
    if not _DRIVE.match(name):
        return places.find_from(by, name.replace("\\", "/"))
    found = places.find_from(by, name.replace("\\", "/").rpartition("/")[2])
    # A disk that is called as its parent on another drive is not its own parent.
    return None if found == by else found


def _from_json(text: bytes) -> str | None:
    """The file name in a `json:` pseudo-protocol name, escaped; None when it names no plain file."""
    try:
        node = msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, UnicodeDecodeError):
        return None
    prefix = ""
    for _ in range(_JSON_DEPTH):
        filename = node.get(f"{prefix}filename")
        if isinstance(filename, str):
            plain = node.get(f"{prefix}driver", "file") in ("file", "host_device")
            return escape(os.fsencode(filename)) if plain else None
        below = node.get(f"{prefix}file")
        if isinstance(below, dict):
            node, prefix = below, ""
        else:
            # Nesting may also be written in the keys: {"file.filename": ...}.
            prefix = f"{prefix}file."
    return None
