"""What travels from agent to manager: the changes between two looks. Pure; both ends use it."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from storekeeper.observation import Fact, Fault, Seen


class Changes(Struct, frozen=True, kw_only=True):
    """How a `Seen` became another. `full`: `facts` is all there is; else `gone` were removed and
    `facts` were added or replaced.
    """

    source: str
    scope: str
    full: bool
    facts: list[Fact]
    gone: list[str]
    faults: tuple[Fault, ...]
    took_s: float = 0.0


def hidden(key: str, faults: Iterable[Fault]) -> bool:
    """Whether one of the faults kept the fact of this key from being seen."""
    return any(
        fault.hides in {"*", key} or (fault.hides.endswith("/") and key.startswith(fault.hides))
        for fault in faults
        if fault.hides
    )


def retain(old: Seen | None, new: Seen) -> Seen:
    """`new`, with what its faults hid kept as `old` last saw it."""
    if old is None or not any(fault.hides for fault in new.faults):
        return new
    kept = {key: fact for key, fact in old.facts.items() if key not in new.facts and hidden(key, new.faults)}
    return Seen(
        source=new.source, scope=new.scope, facts={**new.facts, **kept}, faults=new.faults, took_s=new.took_s
    )


def changes(old: Seen | None, new: Seen) -> Changes:
    """What a holder of `old` needs to come to hold `new`; `apply` is the inverse."""
    if old is None:
        return Changes(
            source=new.source, scope=new.scope, full=True, facts=list(new.facts.values()), gone=[],
            faults=new.faults, took_s=new.took_s,
        )  # fmt: skip
    before = old.facts
    changed = []
    for key, fact in new.facts.items():
        known = before.get(key)
        if known is not fact and known != fact:
            changed.append(fact)
    gone = sorted(before.keys() - new.facts.keys())
    return Changes(
        source=new.source,
        scope=new.scope,
        full=False,
        facts=changed,
        gone=gone,
        faults=new.faults,
        took_s=new.took_s,
    )


def apply(old: Seen | None, change: Changes) -> Seen:
    """The look that `change` leads to."""
    facts = {} if change.full or old is None else dict(old.facts)
    for key in change.gone:
        facts.pop(key, None)
    for fact in change.facts:
        facts[fact.key] = fact
    return Seen(
        source=change.source, scope=change.scope, facts=facts, faults=change.faults, took_s=change.took_s
    )
