"""Which one host walks a volume that several hosts see.

Pure and without memory: the looks themselves tell who walked last. So every manager chooses the same host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from storekeeper.declaration import Volume
from storekeeper.merge.freshness import Horizon
from storekeeper.merge.truth import HostView
from storekeeper.merge.volumes import Sight

# How well a sight serves a walk; the rest may serve where there is no better.
_SERVES = {"": 0, "read-only": 1}
_SERVES_BADLY = 2
_LISTED, _UNTRIED, _FAILED = range(3)


def scanner_of(
    volume: Volume, sights: Iterable[Sight], views: Mapping[str, HostView], horizon: Horizon
) -> str | None:
    """The host that is to walk the volume, of those with these sights; None when there is none.

    Of the hosts that see the volume best: the one that listed it last and still does, else the first that
    never tried, else, since all failed, the one whose last attempt is the oldest.
    """

    def rank(sight: Sight) -> tuple[int, int, float]:
        serves = _SERVES.get(sight.code, _SERVES_BADLY)
        view = views.get(sight.host_id)
        look = view.looks.get(("images", volume.key)) if view is not None else None
        if look is None:
            return serves, _UNTRIED, 0.0
        if look.seen.blind is None and horizon.answered(look):
            return serves, _LISTED, -look.good_at
        return serves, _FAILED, look.at

    chosen = min(sights, key=rank, default=None)
    return chosen.host_id if chosen is not None else None
