"""Images of several files: a VMDK's descriptor and its extents, a qcow2 and its data file. Pure.

The names come from headers: they are compared with what the volume holds, and never opened.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from storekeeper.observation import Fault, Header, Image
from storekeeper.sources.mounts import lies_in

# What QEMU takes for a protocol (block.c, path_has_protocol): such a name is no path.
_PROTOCOL = re.compile(r"[^/:]*:")


def names(header: Header) -> tuple[str, ...]:
    """The further files that a header names."""
    extents = tuple(extent.name for extent in header.extents if extent.name)
    return (*extents, header.data_file) if header.data_file else extents


def key_of(name: str, image: str, roots: Iterable[str]) -> str | None:
    """The key of the file that a name in the header of the image with the key `image` stands for; None
    when that is no file of the volume. `roots`: the paths of the volume's root.

    >>> key_of("win-flat.vmdk", "team/win.vmdk", ["/srv"]), key_of("/srv/x.raw", "team/a", ["/srv"])
    ('team/win-flat.vmdk', 'x.raw')
    >>> key_of("../../etc/shadow", "team/a", ["/srv"]), key_of("nbd://h/x", "team/a", ["/srv"])
    (None, None)
    """
    name = name.removeprefix("file:")
    if _PROTOCOL.match(name):
        return None
    if name.startswith("/"):
        path = posixpath.normpath(name)
        for root in roots:
            if lies_in(path, root) and path != root:
                return path[len(root.rstrip("/")) + 1 :]
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(image), name))
    return None if path.startswith("../") or path in {".", ".."} else path


def members(image: Image, roots: Sequence[str]) -> tuple[str, ...]:
    """The keys of the further files of an image that can be files of the volume; not its own."""
    found = (key_of(name, image.key, roots) for name in names(image.header))
    return tuple(dict.fromkeys(key for key in found if key is not None and key != image.key))


def suppressed(claims: Mapping[str, tuple[str, ...]], used: Mapping[str, str]) -> set[str]:
    """The files that are no images of their own, since images claim them.

    A guest can write any header into its disk: a claim must not make another guest's disk, nor an image
    of several files, vanish; so two that claim each other both stay.
    """
    return {key for keys in claims.values() for key in keys} - claims.keys() - used.keys()


def joined(image: Image, files: Mapping[str, Image], roots: Sequence[str]) -> Image:
    """The image with what all its files take, and a fault for each that is missing or no file of the
    volume.
    """
    allocated = image.allocated_bytes
    faults = list(image.faults)
    counted = {image.key}
    for name in names(image.header):
        key = key_of(name, image.key, roots)
        if key is None:
            text = f"Its file {name} is no file of this volume, and was not opened."
            faults.append(Fault(code="outside-volume", text=text))
        elif key not in counted:
            counted.add(key)
            member = files.get(key)
            if member is None:
                faults.append(Fault(code="missing-file", text=f"Its file {name} is not there."))
            else:
                allocated += member.allocated_bytes
    return replace(image, allocated_bytes=allocated, faults=tuple(faults))
