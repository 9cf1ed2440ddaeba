"""What the agent's process and its workers say to each other: MessagePack frames over a socket pair."""

from __future__ import annotations

from msgspec import Struct

from storekeeper.observation import Seen
from storekeeper.report import Changes
from storekeeper.sources.contract import Scope


class Ask(Struct, frozen=True, kw_only=True, tag="ask"):
    """Look with `source` at `scope`. `full`: answer with everything, not with changes since the last
    answer. `last`: what an earlier worker or run had seen (first ask of a fresh worker only).
    """

    number: int
    source: str
    scope: Scope
    full: bool = False
    last: Seen | None = None


class Watch(Struct, frozen=True, kw_only=True, tag="watch"):
    """Send a `Hint` for every kernel or libvirt event that concerns this source at this scope."""

    source: str
    scope: Scope


class Told(Struct, frozen=True, kw_only=True, tag="told"):
    """The answer to `Ask` number `number`."""

    number: int
    changes: Changes


class Hint(Struct, frozen=True, kw_only=True, tag="hint"):
    """Something happened: look again at these `paths` below the scope's root (escaped), or at all of it."""

    source: str
    scope: str
    paths: tuple[str, ...] = ()


class Unwatched(Struct, frozen=True, kw_only=True, tag="unwatched"):
    """The scope cannot be watched; `text` says why and what to set. The walk goes on."""

    source: str
    scope: str
    text: str


FromAgent = Ask | Watch
FromWorker = Told | Hint | Unwatched
