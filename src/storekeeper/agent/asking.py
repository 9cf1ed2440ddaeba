"""One question to one source, whoever runs it: a worker, or this process on a captured machine."""

from __future__ import annotations

from typing import Protocol

from storekeeper.observation import Fault, Seen
from storekeeper.report import Changes
from storekeeper.sources.contract import Host, Scope, Source


class Asker(Protocol):
    """Runs a source's probe. Never raises for what the host does: a failure is a fault in the answer."""

    async def ask(
        self, source: Source, scope: Scope, *, full: bool = False, last: Seen | None = None
    ) -> Changes:
        """Looks with `source` at `scope`; `last` is what an earlier run had seen."""


def lane(source: Source, scope: Scope) -> str:
    """The worker that looks: one a host source, one a volume, so that a hang costs one."""
    return source.name if source.of == "host" else scope.key


def blind(source: Source, scope: Scope, code: str, text: str) -> Changes:
    """The answer of a source that could not look at all: what was seen before stays."""
    return Changes(
        source=source.name, scope=scope.key, full=False, facts=[], gone=[],
        faults=(Fault(code=code, text=text, hides="*"),),
    )  # fmt: skip


class DirectAsker:
    """Asks in this process: for captured machines, where nothing can hang."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def ask(
        self,
        source: Source,
        scope: Scope,
        *,
        full: bool = False,  # noqa: ARG002
        last: Seen | None = None,
    ) -> Changes:
        """Runs the probe here and now; the answer is always full."""
        seen = source.probe(self._host, scope, last)
        return Changes(
            source=seen.source, scope=seen.scope, full=True, facts=list(seen.facts.values()), gone=[],
            faults=seen.faults, took_s=seen.took_s,
        )  # fmt: skip
