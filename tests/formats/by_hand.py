"""Images that no tool here can make, built by hand from their specifications.

Differencing VHD and VHDX (Hyper-V, XenServer), VDI of VirtualBox with a parent and of the first
version, ESXi's COWD and seSparse extents, a stream of VMware with its tables at the end. The bytes
are laid out as the specifications say, independently of the readers under test.
"""

from __future__ import annotations

import struct
from uuid import UUID

from tests.formats.seeds import Seed

MIB = 1 << 20
OWN = UUID("11111111-2222-3333-4444-555555555555")
PARENT = UUID("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee")
CHANGED = UUID("99999999-8888-7777-6666-555555555555")


# --- VHD ------------------------------------------------------------------------------------------


def checked(raw: bytes, checksum_at: int) -> bytes:
    """`raw` with VHD's checksum in its place."""
    checksum = ~sum(raw) & 0xFFFFFFFF
    return raw[:checksum_at] + checksum.to_bytes(4, "big") + raw[checksum_at + 4 :]


def vhd_footer(
    kind: int, size: int, *, creator: bytes = b"win ", geometry: tuple[int, int, int] = (0, 0, 0),
    version: int = 0x10000, data_offset: int = 512, saved_state: int = 0,
) -> bytes:  # fmt: skip
    raw = struct.pack(
        ">8sIIQI4sI4sQQHBBII16sB427x", b"conectix", 2, version, data_offset, 0, creator, 0x60001, b"Wi2k",
        size, size, *geometry, kind, 0, OWN.bytes, saved_state,
    )  # fmt: skip
    return checked(raw, 64)


def vhd_second(
    entries: int, *, block: int = 2 * MIB, table: int = 1536, magic: bytes = b"cxsparse",
    version: int = 0x10000,
    parent: bytes = bytes(16), name: str = "", locators: tuple[tuple[bytes, int, int], ...] = (),
) -> bytes:  # fmt: skip
    """The dynamic disk header; a locator is (platform code, length, offset)."""
    raw = struct.pack(
        ">8sQQIIII16sII512s", magic, 2**64 - 1, table, version, entries, block, 0, parent, 0, 0,
        name.encode("utf-16-be"),
    )  # fmt: skip
    for code, length, offset in locators:
        raw += struct.pack(">4sIIIQ", code, -(-length // 512), length, 0, offset)
    return checked(raw.ljust(1024, b"\0"), 36)


def vhd(footer: bytes, second: bytes, *data: tuple[int, bytes], size: int = 64 << 10) -> Seed:
    """A dynamic or differencing disk: copy of the footer, second header, data, footer."""
    return Seed("vhd", size, {0: footer + second, **dict(data), size - 512: footer})


def vhd_child(*names: tuple[bytes, bytes], name: str = "base.vhd", parent: bytes = PARENT.bytes) -> Seed:
    """A differencing disk of 20 GiB with these parent locators: (platform code, data)."""
    at = 44 << 10
    locators, data = [], []
    for code, raw in names:
        locators.append((code, len(raw), at))
        data.append((at, raw))
        at += 1024
    second = vhd_second(10240, parent=parent, name=name, locators=tuple(locators))
    return vhd(vhd_footer(4, 20 << 30), second, *data)


# --- VDI ------------------------------------------------------------------------------------------


def vdi(
    kind: int = 1, size: int = 20 << 30, *, version: int = 0x10001, header_bytes: int = 400,
    map_at: int = MIB,
    data_at: int = 2 * MIB, block: int = MIB, extra: int = 0, blocks: int = 20 << 10, allocated: int = 0,
    parent: UUID | None = None, file_bytes: int = 2 * MIB,
) -> Seed:  # fmt: skip
    """As VirtualBox lays it out: block map and data at whole MiB, a longer header than QEMU's."""
    raw = struct.pack(
        "<64sIIIII256sIIIIIIIQIIII16s16s16s16s", b"<<< Oracle VM VirtualBox Disk Image >>>\n", 0xBEDA107F,
        version,
        header_bytes, kind, 0, b"", map_at, data_at, 0, 0, 0, 512, 0, size, block, extra, blocks, allocated,
        OWN.bytes_le, CHANGED.bytes_le, parent.bytes_le if parent else bytes(16), bytes(16),
    )  # fmt: skip
    return Seed("vdi", file_bytes, {0: raw})


def vdi_0_1(kind: int = 1, size: int = 4 << 30, blocks: int = 4096, parent: UUID | None = None) -> Seed:
    """The header of innotek's first releases: block map right behind it, data behind that."""
    raw = struct.pack(
        "<64sIIII256sIIIIQIII16s16s16s", b"<<< innotek VirtualBox Disk Image >>>\n", 0xBEDA107F, 1, kind, 0,
        b"",
        0, 0, 0, 512, size, MIB, blocks, 0, OWN.bytes_le, CHANGED.bytes_le,
        parent.bytes_le if parent else bytes(16),
    )  # fmt: skip
    return Seed("vdi", len(raw) + 4 * blocks, {0: raw})


# --- VHDX -----------------------------------------------------------------------------------------

BAT = UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
METADATA = UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
PARAMETERS = UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
DISK_SIZE = UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
DISK_ID = UUID("beca12ab-b2e6-4523-93ef-c309e000c746")
LOGICAL_SECTOR = UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f")
PHYSICAL_SECTOR = UUID("cda348c7-445d-4471-9cc9-e9885251c556")
PARENT_LOCATOR = UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
LOCATOR_KIND = UUID("b04aefb7-d19e-4a81-b789-25b8e9445913")


def crc32c(raw: bytes) -> int:
    """Bit by bit (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in raw:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def vhdx_header(
    sequence: int, *, data: UUID = OWN, log: UUID | None = None, version: int = 1, good: bool = True
) -> bytes:
    """One of the two headers, 4 KiB; `good`: its checksum holds."""
    raw = struct.pack(
        "<4sIQ16s16s16sHHIQ", b"head", 0, sequence, CHANGED.bytes_le, data.bytes_le,
        log.bytes_le if log else bytes(16), 0, version, MIB, MIB,
    ).ljust(4096, b"\0")  # fmt: skip
    crc = crc32c(raw) if good else crc32c(raw) ^ 1
    return raw[:4] + crc.to_bytes(4, "little") + raw[8:]


def vhdx_regions(
    *regions: tuple[UUID, int, int, int], magic: bytes = b"regi", count: int | None = None
) -> bytes:
    """A region table: (GUID, offset, length, required)."""
    raw = struct.pack("<4sIII", magic, 0, len(regions) if count is None else count, 0)
    return raw + b"".join(struct.pack("<16sQII", guid.bytes_le, *rest) for guid, *rest in regions)


def vhdx_metadata(items: dict[UUID, bytes], *, magic: bytes = b"metadata", required: bool = True) -> bytes:
    """The metadata region: its table, and the items 64 KiB behind it."""
    table = struct.pack("<8sHH20x", magic, 0, len(items))
    data = b""
    for guid, item in items.items():
        table += struct.pack(
            "<16sIII4x", guid.bytes_le, (64 << 10) + len(data), len(item), 4 if required else 0
        )
        data += item
    return table.ljust(64 << 10, b"\0") + data


def vhdx_items(
    size: int = 20 << 30, *, block: int = 32 * MIB, flags: int = 0, sector: int = 512
) -> dict[UUID, bytes]:
    return {
        PARAMETERS: struct.pack("<II", block, flags),
        DISK_SIZE: struct.pack("<Q", size),
        DISK_ID: OWN.bytes_le,
        LOGICAL_SECTOR: struct.pack("<I", sector),
        PHYSICAL_SECTOR: struct.pack("<I", 4096),
    }


def vhdx_locator(
    values: dict[str, str], *, kind: UUID = LOCATOR_KIND, count: int | None = None, shift: int = 0
) -> bytes:
    """A parent locator; `shift` moves its values away from where they are."""
    head = struct.pack("<16sHH", kind.bytes_le, 0, len(values) if count is None else count)
    at = len(head) + 12 * len(values)
    table = data = b""
    for key, value in values.items():
        key_raw, value_raw = key.encode("utf-16-le"), value.encode("utf-16-le")
        table += struct.pack("<IIHH", at, at + len(key_raw) + shift, len(key_raw), len(value_raw))
        data += key_raw + value_raw
        at += len(key_raw) + len(value_raw)
    return head + table + data


REGIONS = ((BAT, 3 * MIB, MIB, 1), (METADATA, 2 * MIB, MIB, 1))


def vhdx(
    items: dict[UUID, bytes] | None = None, *, headers: tuple[bytes, bytes] | None = None,
    tables: tuple[bytes, bytes] | None = None, metadata: bytes | None = None, file_bytes: int = 4 * MIB,
) -> Seed:  # fmt: skip
    first, second = headers or (vhdx_header(7), vhdx_header(8))
    table, copy = tables or (vhdx_regions(*REGIONS), vhdx_regions(*REGIONS))
    pieces = {
        0: b"vhdxfile", 64 << 10: first, 128 << 10: second, 192 << 10: table, 256 << 10: copy,
        2 * MIB: vhdx_metadata(vhdx_items() if items is None else items) if metadata is None else metadata,
    }  # fmt: skip
    return Seed("vhdx", file_bytes, pieces)


def vhdx_child(locator: bytes) -> Seed:
    return vhdx({**vhdx_items(flags=2), PARENT_LOCATOR: locator})


HYPER_V_PARENT = {
    "parent_linkage": "{" + str(PARENT).upper() + "}",
    "relative_path": "..\\golden\\base.vhdx",
    "volume_path": "\\\\?\\Volume{26a21bda-a627-11d7-9931-806e6f6e6963}\\golden\\base.vhdx",
    "absolute_win32_path": "\\\\?\\D:\\golden\\base.vhdx",
}


# --- VMDK -----------------------------------------------------------------------------------------


def descriptor(
    create_type: str, *extents: str, cid: str = "1a2b3c4d", parent: str = "", more: str = "", eol: str = "\n"
) -> bytes:
    """A descriptor as ESXi and Workstation write it; `parent` is a hint and makes it a child."""
    lines = [
        "# Disk DescriptorFile", "version=1", 'encoding="UTF-8"', f"CID={cid}",
        f"parentCID={'5e6f7a8b' if parent else 'ffffffff'}", f'createType="{create_type}"',
        *([f'parentFileNameHint="{parent}"'] if parent else []), "", "# Extent description", *extents, "",
        "# The Disk Data Base", "#DDB", "", 'ddb.adapterType = "lsilogic"', 'ddb.virtualHWVersion = "14"',
        more, "",
    ]  # fmt: skip
    return eol.join(lines).encode()


def text_vmdk(raw: bytes) -> Seed:
    return Seed("vmdk", len(raw), {0: raw})


def hosted(
    capacity: int = 40 << 21, *, version: int = 1, flags: int = 3, grain: int = 128, at: int = 1,
    sectors: int = 20,
    entries: int = 512, redundant: int = 21, directory: int = 2000, overhead: int = 4096, unclean: int = 0,
    newlines: bytes = b"\n \r\n", compression: int = 0,
) -> bytes:  # fmt: skip
    """The header of a hosted sparse extent."""
    return struct.pack(
        "<4sIIQQQQIQQQB4sH433x", b"KDMV", version, flags, capacity, grain, at, sectors, entries, redundant,
        directory,
        overhead, unclean, newlines, compression,
    )  # fmt: skip


def sparse_vmdk(header: bytes, text: bytes = b"", at: int = 1, file_bytes: int = 4 * MIB) -> Seed:
    return Seed("vmdk", file_bytes, {0: header, at * 512: text})


def stream(footer: bytes | None = None) -> Seed:
    """A streamOptimized disk of VMware: its header refers to the footer for the grain directory."""
    fields = {"flags": 0x30001, "redundant": 0, "overhead": 128, "compression": 1, "version": 3}
    head = hosted(directory=2**64 - 1, **fields)  # type: ignore[arg-type]
    end = hosted(directory=2000, **fields) if footer is None else footer  # type: ignore[arg-type]
    text = descriptor("streamOptimized", 'RW 83886080 SPARSE "disk.vmdk"')
    return Seed("vmdk", 2 * MIB, {0: head, 512: text, 2 * MIB - 1024: end})


def cowd(
    sectors: int = 40 << 21, *, version: int = 1, grain: int = 1, directory: int = 4, entries: int = 20 << 10
) -> Seed:
    raw = struct.pack("<4sIIIIIII", b"COWD", version, 3, sectors, grain, directory, entries, 200)
    return Seed("vmdk", MIB, {0: raw.ljust(2048, b"\0")})


def sesparse(
    sectors: int = 40 << 21, *, version: int = 0x200000001, grain: int = 8, table: int = 64, flags: int = 0,
    directory_sectors: int = 64, state: bytes | None = None, state_at: int = 1, replay: int = 0,
) -> Seed:  # fmt: skip
    raw = struct.pack(
        "<26Q", 0xCAFEBABE, version, sectors, grain, table, flags, 0, 0, 0, 0, state_at, 1, 2, 2, 2048, 2048,
        4096,
        directory_sectors, 8192, 65536, 0, 0, 0, 0, 0, 0,
    )  # fmt: skip
    second = struct.pack("<QQQQ", 0xCAFECAFE, 0, 1, replay) if state is None else state
    return Seed("vmdk", 4 * MIB, {0: raw.ljust(512, b"\0"), state_at * 512: second})


def all_by_hand() -> dict[str, Seed]:
    """One good image of each kind."""
    return {
        "vhd-hyper-v-child": vhd_child((b"W2ru", ".\\base.vhd".encode("utf-16-le"))),
        "vdi-child": vdi(4, parent=PARENT),
        "vdi-0.1": vdi_0_1(),
        "vhdx-child": vhdx_child(vhdx_locator(HYPER_V_PARENT)),
        "vmdk-esxi": text_vmdk(descriptor("vmfs", 'RW 83886080 VMFS "disk-flat.vmdk"')),
        "vmdk-esxi-snapshot": text_vmdk(
            descriptor("vmfsSparse", 'RW 83886080 VMFSSPARSE "disk-000001-delta.vmdk"', parent="disk.vmdk")
        ),
        "vmdk-stream-with-footer": stream(),
        "vmdk-cowd": cowd(),
        "vmdk-sesparse": sesparse(),
    }
