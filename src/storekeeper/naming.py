"""Names from disks, made printable and back again.

A name that is not UTF-8, or holds control or format characters (bidirectional marks ...) or `%`, has
those bytes written `%XX`. The result is printable, unique and can be turned back.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

# C0 and C1 controls, DEL, line and paragraph separators, all format characters (bidirectional marks, zero
# width, the BOM ...); surrogates stand for bytes that are no UTF-8. Spelt out, since an id must not change
# with Python's Unicode tables.
_UNSAFE = re.compile(
    "[\x00-\x1f%\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001-\U000e007f]"
)
# Bytes that are no UTF-8 come as these (os.fsdecode); the other surrogates only from text in headers.
_BYTE = re.compile("[\udc80-\udcff]")


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
    character = match.group()
    raw = character.encode("utf-8", "surrogateescape" if _BYTE.match(character) else "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in raw)


def unescape(name: str) -> bytes:
    """The file name's own bytes. `unescape(escape(x)) == x` for every name a filesystem can hold."""
    return unquote_to_bytes(name)


def join(directory: str, name: str) -> str:
    """`directory/name`, without a leading slash when `directory` is the root `""`."""
    return f"{directory}/{name}" if directory else name
