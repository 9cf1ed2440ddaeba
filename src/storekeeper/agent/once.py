"""Looks once at everything, until what was seen asks for no further look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from storekeeper.agent.agent import Scopes
from storekeeper.agent.asking import Asker
from storekeeper.merge.truth import HostView
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
    """All looks that `scopes_of` asks for, side by side; repeated for the scopes that they bring."""
    done: dict[tuple[str, str], Scope] = {}
    for _ in range(ROUNDS):
        fresh = [(name, scope) for name, scope in scopes_of(view) if done.get((name, scope.key)) != scope]
        if not fresh:
            break
        answers = await asyncio.gather(*(asker.ask(sources[name], scope, full=True) for name, scope in fresh))
        for (name, scope), changes in zip(fresh, answers, strict=True):
            done[name, scope.key] = scope
            view = received(view, changes, clock())
    return view
