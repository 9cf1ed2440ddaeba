"""What one file of a volume is, by itself: its format, its size, whom it names, whether it counts.

A guest's declared format wins over the content, since a guest can write any header into a raw disk.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from storekeeper.merge.names import named
from storekeeper.merge.owners import Use, Uses, declared_format
from storekeeper.merge.places import Places, Ref
from storekeeper.observation import UNKNOWN, Fault, Header, Image

_NO_FAULTS: tuple[Fault, ...] = ()
_BY_ITSELF = frozenset({"header", "partition-table", "name"})


class Own(Struct, frozen=True, kw_only=True, gc=False):
    """All that follows from one file and the guests that use it.

    `candidates`: the images that its header may mean as parent, best first; `parent_name` what the
    header says, `""` when it has no parent; `parent_unique_id` for formats that name it so. `claims`:
    its data file and extents, which are no images of their own. `counts` unless another image claims
    it; `may_be_copy`: counts if it proves to be a reflink copy of a raw image.
    """

    image: Image
    header: Header
    size_bytes: int
    uses: Uses
    candidates: tuple[Ref, ...]
    parent_name: str
    parent_unique_id: str
    claims: tuple[Ref, ...]
    counts: bool
    may_be_copy: bool
    faults: tuple[Fault, ...]


def own(ref: Ref, image: Image, uses: Uses, places: Places) -> Own:
    """What the file `ref` is, used by these guests (those of its hard links among them)."""
    header, faults = image.header, _NO_FAULTS
    used = declared_format(uses) if uses else None
    if used is not None and used.format != header.format and not (used.luks and header.format == "luks"):
        header, faults = _as_declared(image, used)
    parent = header.parent
    candidates: tuple[Ref, ...] = ()
    parent_name = ""
    if parent is not None:
        candidates = _all_named(parent.names, ref, header.format, places)
        parent_name = next((name for name in parent.names if name), parent.unique_id)
    return Own(
        image=image,
        header=header,
        size_bytes=header.virtual_bytes,
        uses=uses,
        candidates=candidates,
        parent_name=parent_name,
        parent_unique_id=parent.unique_id if parent is not None else "",
        claims=_claims(ref, header, places) if header.data_file or header.extents else (),
        counts=bool(uses) or (not image.temporary and image.evidence in _BY_ITSELF),
        may_be_copy=not uses and not image.temporary and image.evidence == "none",
        faults=faults,
    )


def _as_declared(image: Image, used: Use) -> tuple[Header, tuple[Fault, ...]]:
    """The header that holds where a guest declares another format than the content shows."""
    if used.format == "raw":
        return Header(format="raw", virtual_bytes=image.file_bytes), ()
    text = (
        f"Guest {used.guest} uses it as {used.format}, but its content is {image.header.format or 'unknown'}."
    )
    fault = Fault(code="format-mismatch", text=text)
    return Header(format=used.format, virtual_bytes=UNKNOWN), (fault,)


def _claims(ref: Ref, header: Header, places: Places) -> tuple[Ref, ...]:
    names = [extent.name for extent in header.extents]
    if header.data_file:
        names.append(header.data_file)
    return tuple(each for each in _all_named(names, ref, header.format, places) if each != ref)


def _all_named(names: Sequence[str], ref: Ref, image_format: str, places: Places) -> tuple[Ref, ...]:
    """The images that names in a header mean, each once."""
    found = [each for name in names if (each := named(name, ref, image_format, places)) is not None]
    return tuple(found if len(found) < 2 else dict.fromkeys(found))
