"""Names from disks, made printable and back again.

A name that is not UTF-8, or holds control characters, bidirectional marks or `%`, has those bytes
written `%XX`. The result is printable, unique and can be turned back.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

# C0 and C1 controls, DEL, line and paragraph separators, bidirectional marks, the BOM; surrogates
# stand for bytes that are no UTF-8.
_UNSAFE = re.compile("[\x00-\x1f%\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def escape(name: bytes | str) -> str:
    r"""The printable form of a file name. Text is taken as `os.fsdecode` gives it.

    >>> escape(b"win 10.qcow2"), escape(b"50%"), escape(b"a\xffb\n")
    ('win 10.qcow2', '50%25', 'a%FFb%0A')
    """
    if isinstance(name, bytes):
        name = name.decode("utf-8", "surrogateescape")
    if name.isascii() and name.isprintable() and "%" not in name:  # nearly all, and far quicker
        return name
    return _UNSAFE.sub(_escape_character, name)


def _escape_character(match: re.Match[str]) -> str:
    raw = match.group().encode("utf-8", "surrogateescape" if match.group() >= "\udc80" else "strict")
    return "".join(f"%{byte:02X}" for byte in raw)


def unescape(name: str) -> bytes:
    """The file name's own bytes. `unescape(escape(x)) == x` for every name a filesystem can hold."""
    return unquote_to_bytes(name)


def join(directory: str, name: str) -> str:
    """`directory/name`, without a leading slash when `directory` is the root `""`."""
    return f"{directory}/{name}" if directory else name
