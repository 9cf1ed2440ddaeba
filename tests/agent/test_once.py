"""One look at everything: each scope once, and a volume that could not be read is looked at once more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from storekeeper.agent.once import look_once
from storekeeper.merge.truth import HostView, Look
from storekeeper.observation import Fault, Seen
from storekeeper.report import Changes, changes
from storekeeper.sources import SOURCES
from storekeeper.sources.contract import Scope, Source
from tests.merge.builders import NOW, declared, external, image, images, merged, spaced, status

V = external()
EIO = Fault("io-error", "/v: Input/output error", hides="*")
HUNG = Fault("timed-out", "images did not answer within 60 s", hides="*")


class Scripted:
    """Answers each source's questions with these looks, one after the other; remembers what it was asked."""

    def __init__(self, **looks: list[Look]) -> None:
        self.left = looks
        self.asked: list[str] = []

    async def ask(
        self,
        source: Source,
        scope: Scope,
        *,
        full: bool = False,
        last: Seen | None = None,
    ) -> Changes:
        self.asked.append(source.name)
        return changes(None, self.left[source.name].pop(0).seen)

    async def watch(self, source: Source, scope: Scope) -> None:
        raise AssertionError("one look watches nothing")


def scopes_of(view: HostView) -> Sequence[tuple[str, Scope]]:
    scope = Scope(key=V.key, root=V.mount_point)
    return [("space", scope), ("images", scope)] if view.looks else [("space", scope)]


def looked(asker: Scripted) -> HostView:
    nothing = HostView(host_id="h1")
    return asyncio.run(look_once(asker, SOURCES, scopes_of, nothing, lambda: NOW))


def test_everything_is_looked_at_once() -> None:
    asker = Scripted(space=[spaced(V)], images=[images(V, image("a"))])
    view = looked(asker)
    assert asker.asked == ["space", "images"]
    assert status(merged(declared(V), view)) == ("ok", "")


def test_a_disk_that_was_pulled_shows_in_the_space_that_is_looked_at_after_the_images_were_not_readable() -> (
    None
):
    gone = spaced(V, read_fault=Fault("io-error", "/v: Input/output error"))
    asker = Scripted(space=[spaced(V), gone], images=[images(V, faults=[EIO])])
    view = looked(asker)
    assert asker.asked == ["space", "images", "space"]
    assert status(merged(declared(V), view))[0] == "broken"


def test_what_only_took_too_long_is_not_waited_for_twice() -> None:
    asker = Scripted(space=[spaced(V)], images=[images(V, faults=[HUNG])])
    assert status(merged(declared(V), looked(asker)))[0] == "unknown"
    assert asker.asked == ["space", "images"]
