"""The descriptor of a VMDK: the text that names its extents and its parent.

Specification: VMware, "Virtual Disk Format 5.0"; what ESXi and VirtualBox write beyond it:
documentation of libvmdk, src/VBox/Storage/VMDK.cpp of VirtualBox.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from storekeeper.errors import BadHeader
from storekeeper.formats.contract import SECTOR_BYTES, fault_of
from storekeeper.naming import escape
from storekeeper.observation import UNKNOWN, Extent, Fault, Parent

EXTENT_LIMIT = 4096
_NAME_LIMIT_BYTES = 1023
_SIZE_LIMIT_SECTORS = (2**63 - 1) // SECTOR_BYTES

_KEYS = (
    "encoding", "CID", "parentCID", "createType", "parentFileNameHint", "changeTrackPath",
    "encryption.keySafe", "ddb.thinProvisioned", "ddb.uuid.image", "ddb.uuid.parent",
)  # fmt: skip
# Possessive (*+) where a long run of blanks would else be tried at every length.
_ENTRY = re.compile(
    rb'^[ \t]*+(%b)[ \t]*+=[ \t]*+(?:"([^"\n]*+)"|([^"\s]*+))[ \t\r]*+$'
    % "|".join(map(re.escape, _KEYS)).encode(),
    re.MULTILINE,
)
_EXTENT_LINE = re.compile(rb"^[ \t]*+(?:RW|RDONLY|NOACCESS)[ \t].*$", re.MULTILINE)
_EXTENT = re.compile(
    rb'\s*+[A-Z]++[ \t]++(\d{1,20}+)[ \t]++([A-Z0-9]{1,16}+)(?:[ \t]++"([^"]++)"(?:[ \t]++(\d{1,20}+))?)?'
)
_CREATE_TYPE = re.compile(r"[A-Za-z0-9]{1,64}")
_CID = re.compile(r"[0-9a-f]{1,8}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NO_UUID = "00000000-0000-0000-0000-000000000000"
# "No parent"; and the content of a disk to which nothing was written yet, the same in all of them.
_NO_CONTENT = ("ffffffff", "fffffffe")

_KINDS = frozenset({"FLAT", "SPARSE", "ZERO", "VMFS", "VMFSSPARSE", "VMFSRDM", "VMFSRAW", "SESPARSE"})
_PREALLOCATED = frozenset({"FLAT", "VMFS", "VMFSRDM", "VMFSRAW"})

# As VMware writes them, to Python's. Others are refused: not all of Python's codecs decode text.
_ENCODINGS = {
    "utf-8": "utf-8", "us-ascii": "ascii", "windows-874": "cp874", "windows-932": "cp932",
    "windows-936": "cp936", "windows-949": "cp949", "windows-950": "cp950", "shift-jis": "shift_jis",
    "gbk": "gbk", "gb2312": "gb2312", "gb18030": "gb18030", "big5": "big5", "euc-kr": "euc_kr",
    "euc-jp": "euc_jp", **{f"windows-{page}": f"cp{page}" for page in range(1250, 1259)},
    **{f"iso-8859-{part}": f"iso8859_{part}" for part in (*range(1, 12), *range(13, 17))},
}  # fmt: skip


class Descriptor(NamedTuple):
    """What a descriptor says. `sectors` is the sum over its extents, UNKNOWN when one cannot be read.

    `extents` are those that lie in files; `extent_count` counts the others (ZERO, or of no sectors) too.
    `unique_id` is VirtualBox's UUID where there is one, else the content id.
    """

    create_type: str
    extents: tuple[Extent, ...]
    extent_count: int
    sectors: int
    preallocated: bool
    parent: Parent | None
    unique_id: str
    encryption: str
    features: tuple[str, ...]
    faults: tuple[Fault, ...]


def parse(raw: bytes) -> Descriptor:
    """A descriptor, up to its first NUL. Of a key that comes twice the first counts, as in QEMU.

    Raises:
        BadHeader: it has more extents than any honest one.
    """
    raw = raw.split(b"\0", 1)[0]
    extent_lines = _EXTENT_LINE.findall(raw)
    if len(extent_lines) > EXTENT_LIMIT:
        raise BadHeader(f"{len(extent_lines)} extents; at most {EXTENT_LIMIT} are read.", code="too-much")
    entries: dict[str, bytes] = {}
    for key, quoted, plain in _ENTRY.findall(raw):
        entries.setdefault(key.decode("ascii"), quoted or plain)
    faults: list[Fault] = []
    encoding = _encoding(entries, faults)
    extents, sectors = _extents(extent_lines, encoding, faults)
    create_type = _word(entries, "createType")
    if not _CREATE_TYPE.fullmatch(create_type):
        faults.append(Fault("bad-header", "Its descriptor does not say of which type it is (createType)."))
        create_type = ""
    thin = _word(entries, "ddb.thinProvisioned") == "1"
    in_files = tuple(extent for extent in extents if extent.kind != "ZERO" and extent.size_bytes)
    return Descriptor(
        create_type=create_type,
        extents=in_files,
        extent_count=len(extent_lines),
        sectors=sectors,
        preallocated=bool(in_files) and not thin and all(extent.kind in _PREALLOCATED for extent in in_files),
        parent=_parent(entries, encoding, faults),
        unique_id=_unique_id(entries, "ddb.uuid.image", "CID"),
        # VMware Workstation seals all but this line of an encrypted disk's descriptor.
        encryption="vmware" if "encryption.keySafe" in entries else "",
        features=("changed-block-tracking",) if "changeTrackPath" in entries else (),
        faults=tuple(faults),
    )


def _extents(lines: list[bytes], encoding: str, faults: list[Fault]) -> tuple[list[Extent], int]:
    """The extents, and their sectors together; UNKNOWN when one of the lines makes no sense."""
    extents = []
    sectors = 0
    lies: dict[Fault, None] = {}  # each kind of them once
    for line in lines:
        try:
            extent = _extent(line, encoding)
        except BadHeader as bad:
            lies[fault_of(bad)] = None
            continue
        extents.append(extent)
        sectors += extent.size_bytes // SECTOR_BYTES
    if any(extent.kind not in _KINDS for extent in extents):
        faults.append(Fault("unknown-feature", "It has extents of a kind that is not known."))
    if sectors > _SIZE_LIMIT_SECTORS:
        lies[Fault("size-lies", "Its extents together are larger than any disk.")] = None
    faults.extend(lies)
    return extents, UNKNOWN if lies else sectors


def _extent(line: bytes, encoding: str) -> Extent:
    found = _EXTENT.match(line)
    if not found:
        raise BadHeader("A line of its descriptor that names an extent is damaged.")
    sectors, kind, name, first = int(found[1]), found[2].decode("ascii"), found[3] or b"", int(found[4] or 0)
    if max(sectors, first) > _SIZE_LIMIT_SECTORS:
        raise BadHeader("An extent of it is larger than any disk.", code="size-lies")
    if len(name) > _NAME_LIMIT_BYTES or (not name and kind != "ZERO"):
        raise BadHeader("An extent has no name, or one of over 1023 bytes.")
    return Extent(
        name=_decoded(name, encoding),
        size_bytes=sectors * SECTOR_BYTES,
        kind=kind,
        offset_bytes=first * SECTOR_BYTES,
    )


def _parent(entries: dict[str, bytes], encoding: str, faults: list[Fault]) -> Parent | None:
    hint = entries.get("parentFileNameHint", b"")
    if len(hint) > _NAME_LIMIT_BYTES:
        faults.append(Fault("bad-header", "Its parent's name is over 1023 bytes long."))
        hint = b""
    unique_id = _unique_id(entries, "ddb.uuid.parent", "parentCID")
    has_parent = _word(entries, "parentCID") not in ("", "ffffffff")
    if not hint and not unique_id:
        if has_parent:
            faults.append(Fault("bad-header", "It has a parent, and does not say which."))
            return Parent(format="vmdk")
        return None
    names = (_decoded(hint, encoding),) if hint else ()
    return Parent(names=names, format="vmdk", unique_id=unique_id)


def _unique_id(entries: dict[str, bytes], uuid_key: str, content_key: str) -> str:
    uuid = _word(entries, uuid_key)
    if _UUID.fullmatch(uuid) and uuid != _NO_UUID:
        return uuid
    content = _word(entries, content_key)
    return content if _CID.fullmatch(content) and content not in _NO_CONTENT else ""


def _word(entries: dict[str, bytes], key: str) -> str:
    """A value that is a word of ASCII; in lower case, unless it is the type."""
    word = entries.get(key, b"").decode("ascii", "replace")
    return word if key == "createType" else word.lower()


def _encoding(entries: dict[str, bytes], faults: list[Fault]) -> str:
    word = _word(entries, "encoding").replace("_", "-")
    encoding = _ENCODINGS.get(word or "utf-8")
    if encoding is None:
        faults.append(Fault("unknown-feature", "The encoding of its names is not known; taken for UTF-8."))
    return encoding or "utf-8"


def _decoded(name: bytes, encoding: str) -> str:
    """A name as it is on disk; what does not decode is taken as the bytes that it is."""
    try:
        return escape(name.decode(encoding))
    except UnicodeDecodeError:
        return escape(name)
