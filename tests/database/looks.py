"""Looks as a manager applies them."""

from __future__ import annotations

from storekeeper.database.store import Applied
from storekeeper.merge.truth import HostView
from storekeeper.observation import Fault, Pool, Seen
from storekeeper.report import Changes, received


def pool(name: str, target: str = "/x") -> Pool:
    """A fact."""
    return Pool(key=name, name=name, kind="dir", target=target)


def seen(*pools: Pool, faults: tuple[Fault, ...] = (), scope: str = "") -> Seen:
    """A look at them."""
    return Seen(source="guests", scope=scope, facts={each.key: each for each in pools}, faults=faults)


def told(view: HostView, change: Changes, now: float) -> tuple[HostView, Applied]:
    """The view after one more report, and what the store is given of it."""
    view = received(view, change, now)
    look = view.looks[change.source, change.scope]
    return view, Applied(host_id=view.host_id, changes=change, look=look)
