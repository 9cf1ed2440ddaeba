"""Stand-ins: names and addresses of a capture replaced, each by the same other one wherever it stands.

A stand-in has the length of what it replaces, so that one rule serves text, paths and binary headers
alike (UTF-8 and UTF-16), and every offset stays right. Replaced are

- host names: this host's, and those that mounts and Gluster name;
- guests' names;
- serial numbers that the capture holds as such;
- IPv4, IPv6 and MAC addresses, UUIDs, where they are text, and then in superblocks their raw bytes too;
- values behind `password=`, `secret=` and `key=`, and credentials in URLs, which become `x`.

A name counts only as a whole token: not within a longer word or number; `_`, `-` and `.` end a word.
Names under three characters or of digits only, and words that formats need (`disk`, `raw` ...), stay.
"""

from __future__ import annotations

import itertools
import os
import random
import re
from collections.abc import Callable, Iterable
from ipaddress import AddressValueError, IPv6Address
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from storekeeper.host.capture import Content, Machine, content_of

_SHORTEST_NAME: Final = 3
_SHORTEST_SERIAL: Final = 6  # a shorter one may be any number
_TRIES: Final = 100
_ALPHABETS: Final = (b"123456789", b"abcdef", b"ABCDEF", b"ghijklmnopqrstuvwxyz", b"GHIJKLMNOPQRSTUVWXYZ")
_NEEDED_WORDS: Final = frozenset(
    b"backing boot bus cdrom dev devices disk domain driver encryption etc ext file format gluster host "
    b"images img info ip iso lib libvirt local localhost luks mnt mount name network nfs none pool proc qcow "
    b"qcow2 qed qemu raw root run serial server source storage sys sysfs target test tmp type uuid var vdi "
    b"vhd vhdx virtio vmdk vol volume volumes xfs xml".split()
)

_IPV4: Final = re.compile(rb"(?<![0-9A-Za-z.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9A-Za-z]|\.[0-9])")
_IPV6: Final = re.compile(
    rb"(?<![0-9A-Fa-f:.])(?=[0-9A-Fa-f:]*:[0-9A-Fa-f]*:)[0-9A-Fa-f:]{5,39}(?![0-9A-Za-z:])"
)
_MAC: Final = re.compile(rb"(?<![0-9A-Fa-f:])(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}(?![0-9A-Fa-f:])")
_UUID: Final = re.compile(
    rb"(?<![0-9A-Fa-f])[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}(?![0-9A-Fa-f])"
    rb"|(?<![0-9A-Za-z])[0-9A-Fa-f]{32}(?![0-9A-Za-z])"
)
_SECRET: Final = re.compile(rb"(?i)\b(pass(?:word|wd)?|secret|key)=([\"']?)([^,;&\s\"'<>\0]+)")
_CREDENTIALS: Final = re.compile(rb"(://)([^/@\s\0\"'<>]+)(?=@)")

# where other hosts are named: `nas:/export` in mounts and bricks, `//nas/share`, Gluster's XML
_HOSTS: Final = re.compile(
    rb"(?<![\w./-])([A-Za-z][A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)*):/(?!/)"
    rb"|(?:^|\s)//([A-Za-z][A-Za-z0-9.-]*)/|<hostname>([^<\s]+)</hostname>|<host name='([^']+)'",
    re.MULTILINE,
)
_VHD_HEADER_BYTES: Final = 1024
_VHD_HEADER: Final = re.compile(rb"cxsparse(?=.{1016})", re.DOTALL)
_SERIAL_FILES: Final = ("/serial", "/vpd_pg80", "/product_uuid", "/product_serial")


class StandIns:
    """The stand-ins of one capture. `hosts`, `guests` and `serials` are names to be replaced."""

    def __init__(
        self, hosts: Iterable[str] = (), guests: Iterable[str] = (), serials: Iterable[str] = ()
    ) -> None:
        self._random = random.Random(0)  # noqa: S311  nothing of the original goes into a stand-in
        self._known: dict[bytes, bytes] = {}
        self._uuids: dict[UUID, UUID] = {UUID(int=0): UUID(int=0)}
        named = [sorted(map(os.fsencode, set(names))) for names in (hosts, guests)]
        self._names = frozenset(itertools.chain(*named))
        for word, names in zip((b"host", b"guest"), named, strict=True):
            for name in names:
                if _replaceable(name, _SHORTEST_NAME):
                    self._add(name, word)
        for serial in sorted({os.fsencode(serial) for serial in serials}):
            if _replaceable(serial, _SHORTEST_SERIAL):
                self._like(serial)
        names_only = dict(self._known)
        self._tokens = [_tokens(names_only, encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be")]

    def text(self, text: str) -> str:
        """A text, a path or an escaped name with its stand-ins."""
        return os.fsdecode(self.binary(os.fsencode(text)))

    def binary(self, data: bytes) -> bytes:
        """Bytes with their stand-ins, in the same length."""
        data = _SECRET.sub(lambda match: match[1] + b"=" + match[2] + b"x" * len(match[3]), data)
        data = _CREDENTIALS.sub(lambda match: match[1] + b"x" * len(match[2]), data)
        data = _UUID.sub(self._uuid, data)
        data = _MAC.sub(lambda match: self._like(match[0]), data)
        data = _IPV6.sub(self._ipv6, data)
        data = _IPV4.sub(self._ipv4, data)
        for pattern, stand_ins in self._tokens:
            data = pattern.sub(lambda match, known=stand_ins: known[match[0]], data)  # type: ignore[misc]
        return data

    def image(self, data: bytes) -> bytes:
        """Bytes of an image: as `binary`, and the checksum of a VHD's second header that held holds again."""
        replaced = self.binary(data)
        for match in _VHD_HEADER.finditer(data):
            start = match.start()
            if _vhd_checksum(data[start:]) == data[start + 36 : start + 40]:
                checksum = _vhd_checksum(replaced[start:])
                replaced = replaced[: start + 36] + checksum + replaced[start + 40 :]
        return replaced

    def device(self, data: bytes) -> bytes:
        """Bytes of a device: as `binary`, and the raw form of every UUID that was met in a text."""
        data = self.binary(data)
        for original, stand_in in self._uuids.items():
            data = data.replace(original.bytes, stand_in.bytes) if original.int else data
        return data

    def _add(self, name: bytes, word: bytes) -> None:
        """`guest` and a number, cut or filled to the length of `name`."""
        for number in itertools.count(1):
            digits = b"%d" % number
            if len(digits) > len(name):
                self._like(name)
                return
            stem = word[: len(name) - len(digits)]
            stand_in = stem + digits.rjust(len(name) - len(stem), b"0")
            if self._unused(stand_in):
                self._known[name] = stand_in
                return

    def _unused(self, stand_in: bytes) -> bool:
        return stand_in not in self._names and stand_in not in self._known.values()

    def _like(self, original: bytes) -> bytes:
        """Other digits for digits, other letters for letters; the same each time."""
        return self._remembered(original, lambda: bytes(map(self._other, original)))

    def _other(self, byte: int) -> int:
        alphabet = next((alphabet for alphabet in _ALPHABETS if byte in alphabet), bytes([byte]))
        return self._random.choice(alphabet)

    def _remembered(self, original: bytes, make: Callable[[], bytes]) -> bytes:
        if original not in self._known:
            made = (make() for _ in range(_TRIES))
            self._known[original] = next((one for one in made if self._unused(one)), original)
        return self._known[original]

    def _uuid(self, match: re.Match[bytes]) -> bytes:
        written = match[0].decode("ascii")
        original = UUID(written)
        if original not in self._uuids:
            self._uuids[original] = UUID(bytes(map(self._other, original.hex.encode())).decode())
        stand_in = str(self._uuids[original])
        stand_in = stand_in if "-" in written else stand_in.replace("-", "")
        return (stand_in if written == written.lower() else stand_in.upper()).encode()

    def _ipv4(self, match: re.Match[bytes]) -> bytes:
        octets = match[0].split(b".")
        if any(int(octet) > 255 for octet in octets) or octets[0] in {b"0", b"127", b"255"}:
            return match[0]
        ranges = {1: (1, 9), 2: (10, 99), 3: (100, 223)}
        return self._remembered(
            match[0], lambda: b".".join(b"%d" % self._random.randint(*ranges[len(octet)]) for octet in octets)
        )

    def _ipv6(self, match: re.Match[bytes]) -> bytes:
        try:
            IPv6Address(match[0].decode("ascii"))
        except AddressValueError:
            return match[0]
        return self._like(match[0])


def _replaceable(name: bytes, shortest: int) -> bool:
    return len(name) >= shortest and not name.isdigit() and name.lower() not in _NEEDED_WORDS


def _tokens(known: dict[bytes, bytes], encoding: str) -> tuple[re.Pattern[bytes], dict[bytes, bytes]]:
    """A pattern of these names as whole tokens in an encoding, and their stand-ins in it."""
    encoded = {
        os.fsdecode(name).encode(encoding, "replace" if "16" in encoding else "surrogateescape"):
        os.fsdecode(stand_in).encode(encoding, "replace" if "16" in encoding else "surrogateescape")
        for name, stand_in in known.items()
    }  # fmt: skip
    before, after = {
        "utf-8": (rb"(?<![0-9A-Za-z])", rb"(?![0-9A-Za-z])"),
        "utf-16-le": (rb"(?<![0-9A-Za-z]\0)", rb"(?![0-9A-Za-z]\0)"),
        "utf-16-be": (rb"(?<!\0[0-9A-Za-z])", rb"(?!\0[0-9A-Za-z])"),
    }[encoding]
    names = b"|".join(re.escape(name) for name in sorted(encoded, key=len, reverse=True))
    return re.compile(before + b"(?:" + names + b")" + after if names else rb"(?!)"), encoded


def _vhd_checksum(header: bytes) -> bytes:
    """The checksum that a dynamic VHD's second header must have (Microsoft's VHD specification 1.0)."""
    total = sum(header[:_VHD_HEADER_BYTES]) - sum(header[36:40])
    return (~total & 0xFFFFFFFF).to_bytes(4, "big")


# --- a whole capture ------------------------------------------------------------------------------


def stand_ins_for(machine: Machine) -> StandIns:
    """Stand-ins for the names that a capture is seen to hold."""
    hosts = {machine.name, *machine.name.split(".", 1)}
    for text in (
        *machine.files.values(),
        *(os.fsencode(command.out) for command in machine.commands.values()),
    ):
        hosts |= {os.fsdecode(name) for match in _HOSTS.finditer(text) for name in match.groups() if name}
    guests = {domain.name for domains in machine.domains.values() for domain in domains}
    serials = {
        os.fsdecode(content[4:] if path.endswith("/vpd_pg80") else content).strip("\0 \n")
        for path, content in machine.files.items()
        if path.endswith(_SERIAL_FILES)
    }
    return StandIns(hosts, guests, serials)


def with_stand_ins(machine: Machine, stand_ins: StandIns) -> Machine:
    """The same capture with stand-ins; devices last, when every UUID has been met."""
    blocks, machine.blocks = machine.blocks, {}
    try:
        replaced: Machine = _replaced(machine, stand_ins, stand_ins.image)
        replaced.blocks = _replaced(blocks, stand_ins, stand_ins.device)
    finally:
        machine.blocks = blocks
    return replaced


def _replaced(value: Any, stand_ins: StandIns, content: Callable[[bytes], bytes]) -> Any:
    if isinstance(value, str):
        return stand_ins.text(value)
    if isinstance(value, bytes):
        return stand_ins.binary(value)
    if isinstance(value, Content):
        return content_of((offset, content(data)) for offset, data in value.reads())
    if isinstance(value, Struct):
        names = value.__struct_fields__
        return type(value)(**{name: _replaced(getattr(value, name), stand_ins, content) for name in names})
    if isinstance(value, dict):
        return {stand_ins.text(key): _replaced(inner, stand_ins, content) for key, inner in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(_replaced(inner, stand_ins, content) for inner in value)
    if isinstance(value, list | tuple):
        return type(value)(_replaced(inner, stand_ins, content) for inner in value)
    return value
