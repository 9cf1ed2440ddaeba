"""Looks once at everything, until what was seen asks for no further look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from storekeeper.agent.agent import Scopes
from storekeeper.agent.asking import Asker
from storekeeper.errors import Unreadable
from storekeeper.merge.truth import HostView, Look
from storekeeper.report import received
from storekeeper.sources.contract import Scope, Source

# mounts and guests say where to look, space says whether to, images what to compare: no more rounds.
ROUNDS = 4


async def look_once(
    asker: Asker,
    sources: Mapping[str, Source],
    scopes_of: Callable[[HostView], Scopes],
    view: HostView,
    clock: Callable[[], float],
) -> HostView:
    """All looks that `scopes_of` asks for, side by side; repeated for the scopes that they bring.

    Where one of them could not read a volume whose space was told before, the space is looked at once more: a
    filesystem may give its size from memory until it notices that its disk is gone.
    """
    done: dict[tuple[str, str], Scope] = {}

    async def look(wanted: Scopes) -> HostView:
        answers = await asyncio.gather(
            *(asker.ask(sources[name], scope, full=True) for name, scope in wanted)
        )
        seen = view
        for (name, scope), changes in zip(wanted, answers, strict=True):
            done[name, scope.key] = scope
            seen = received(seen, changes, clock())
        return seen

    for _ in range(ROUNDS):
        fresh = [(name, scope) for name, scope in scopes_of(view) if done.get((name, scope.key)) != scope]
        if not fresh:
            break
        view = await look(fresh)
    unread = {key for (name, key), told in view.looks.items() if name != "space" and _unreadable(told)}
    return await look([("space", done["space", key]) for key in sorted(unread) if ("space", key) in done])


def _unreadable(look: Look) -> bool:
    return look.seen.blind is not None and look.seen.blind.code == Unreadable.code
