"""What may be written as a value of a declaration.

Each check takes a value as tomllib or a JSON decoder gives it and says what is wrong with it and what to
write instead; `""` when nothing is.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable

from storekeeper.declaration import DEFAULT_DATABASE, DEFAULT_LISTEN

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_ID_RULE = "1 to 63 letters, digits, dots, underscores and hyphens, beginning with a letter or digit"
# What `gluster volume create` accepts (cli_cmd_volume_create_parse in cli-cmd-parser.c).
_GLUSTER_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}\Z")
# What hosts are asked (`sources.SOURCES`, which stands below).
SOURCES = (
    "disks", "extents", "gluster", "gluster_heals", "guests", "images", "machine", "mounts", "ocfs2", "space",
)  # fmt: skip
# [USER[:PASSWORD]@][HOST[:PORT]]/DATABASE[?KEY=VALUE...], as libpq's manual has it (34.1.1.2).
_POSTGRESQL_PLACE = re.compile(
    r"([^@/?#]+@)?(\[[0-9A-Fa-f:.]+\]|[^@/?#:\[\]]*)(:[0-9]{1,5})?/[^/?#]+(\?[^#]*)?\Z"
)
_CONTROL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def text(value: object) -> str:
    """Any text that can be printed."""
    if not isinstance(value, str):
        return f"is {shown(value)}; write a text in quotes"
    if not value:
        return "is empty; write a text, or leave the key out"
    if any(unicodedata.category(character) in _CONTROL for character in value):
        return "holds a control character; write it without"
    return ""


def path(value: object) -> str:
    """An absolute path as the kernel shows it: no `..`, no `//`, no slash at the end."""
    if wrong := text(value):
        return wrong
    place = str(value)
    if not place.startswith("/"):
        return f"{place!r} is relative; write the whole path, such as {'/' + place.lstrip('./')!r}"
    parts = [part for part in place.split("/") if part not in {"", "."}]
    if not parts:
        return f"{place!r} is the whole system; write a directory of its own"
    if ".." in parts:
        return f"{place!r} holds '..'; write the path without it"
    normal = "/" + "/".join(parts)
    return "" if place == normal else f"{place!r} is not in its normal form; write {normal!r}"


def identifier(value: object) -> str:
    """An id that people choose: it appears in URLs and file names."""
    if isinstance(value, str) and _ID.match(value):
        return ""
    return f"is {shown(value)}; write {_ID_RULE}"


def hosts(value: object) -> str:
    """The hosts of an image storage: at least one, none twice."""
    if not isinstance(value, list):
        return f'is {shown(value)}; write a list of host ids, such as ["flexdev01"]'
    if not value:
        return "is empty; name at least one host"
    return _entries(value, identifier)


def aliases(value: object) -> str:
    """Further paths under which image headers and guests know a volume."""
    if not isinstance(value, list):
        return f'is {shown(value)}; write a list of paths, such as ["/mnt/images"]'
    return _entries(value, path)


def _entries(values: list[object], check: Callable[[object], str]) -> str:
    for place, value in enumerate(values):
        if wrong := check(value):
            return f"entry {place + 1} {wrong}"
        if value in values[:place]:
            return f"{value!r} is listed twice; name it once"
    return ""


def boolean(value: object) -> str:
    """True or false."""
    return "" if isinstance(value, bool) else f"is {shown(value)}; write true or false"


def seconds(value: object) -> str:
    """A time-out: from a second to a day."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= 86400:
        return ""
    return f"is {shown(value)}; write a number of seconds from 1 to 86400"


def paces(value: object) -> str:
    """Pauses between looks: sources' names to seconds."""
    if not isinstance(value, dict):
        return f"is {shown(value)}; write a table of sources and seconds, such as {{ images = 10 }}"
    for source, pause in value.items():
        if source not in SOURCES:
            return f"{source!r} is no source; there is: {', '.join(SOURCES)}"
        if wrong := seconds(pause):
            return f"{source} {wrong}"
    return ""


def gvolume_name(value: object) -> str:
    """The name of a Gluster volume."""
    if wrong := text(value):
        return wrong
    if _GLUSTER_NAME.match(str(value)):
        return ""
    return f"{value!r} is no name of a Gluster volume; write it as `gluster volume list` does"


def listen(value: object) -> str:
    """`ADDRESS:PORT`. A name is no address: it may come to mean another machine, or several."""
    if wrong := text(value):
        return wrong
    host, colon, port = str(value).rpartition(":")
    if not colon or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        return f"is {shown(value)}; write an address and a port, such as {DEFAULT_LISTEN!r}"
    bracketed = host.startswith("[") and host.endswith("]")
    if ":" in host and not bracketed:
        return f"is {shown(value)}; write an IPv6 address in brackets, such as '[::1]:{port}'"
    if _is_address(host[1:-1] if bracketed else host):
        return ""
    return f"{host!r} is no IP address; write one of this host's, '127.0.0.1:{port}' or '0.0.0.0:{port}'"


def _is_address(host: str) -> bool:
    try:
        return host == "localhost" or bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def database(value: object) -> str:
    """`sqlite:///PATH`, `sqlite://` for one in memory, or `postgresql://USER@HOST/DATABASE`."""
    if wrong := text(value):
        return wrong
    scheme, found, place = str(value).partition("://")
    if scheme == "sqlite" and found and (not place or not path(place)):
        return ""
    if scheme == "postgresql" and _POSTGRESQL_PLACE.match(place):
        return ""
    return (
        f"is {shown(value)}; write sqlite:// and an absolute path, such as {DEFAULT_DATABASE!r}, or "
        "postgresql://USER@HOST/DATABASE"
    )


def shown(value: object) -> str:
    """A wrong value as an admin reads it, short."""
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case dict():
            return "a table"
        case list():
            return "a list" if value else "an empty list"
        case int() | float():
            return "a number" if abs(value) > 10**15 else str(value)
        case str():
            return repr(value) if len(value) <= 80 else repr(value[:77] + "...")
        case _:
            return "a date or a time"
