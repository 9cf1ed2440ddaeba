"""Faults: done, looked for, undone, and told in `faults.json`, expected beside seen."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from lab.errors import LabError
from lab.lab import Lab
from lab.scenario import FaultTable, SightTable

_PAUSE_S = 0.5
_VOLUMES = ("volumes", "external_volumes", "gluster_volumes")


class Outcome(Struct):
    """What came of one fault. Times in seconds since it was done, and since it was undone."""

    name: str
    expected: tuple[SightTable, ...]
    seen: tuple[SightTable, ...] = ()
    as_expected: bool = False
    seen_after_s: float = 0.0
    recovered: bool = False
    recovered_after_s: float = 0.0
    left: tuple[str, ...] = ()
    error: str = ""


def try_faults(lab: Lab) -> bool:
    """Tries all faults of the scenario, one after the other; whether all was as expected."""
    outcomes = []
    for fault in lab.scenario.faults:
        outcomes.append(try_fault(lab, fault))
        told = msgspec.json.format(msgspec.json.encode(outcomes))
        (lab.results / "faults.json").write_bytes(told)
    return all(outcome.as_expected and outcome.recovered for outcome in outcomes)


def try_fault(lab: Lab, fault: FaultTable) -> Outcome:
    """Does a fault, waits until it is seen, undoes it, waits until the document is the expected one again."""
    outcome = Outcome(fault.name, fault.expect)
    try:
        try:
            for verb in fault.do:
                verb.do(lab)
            outcome.as_expected, outcome.seen_after_s = within(
                fault.within_s, lambda: _is_seen(lab, fault, outcome)
            )
        finally:
            for verb in fault.undo:
                verb.do(lab)
        outcome.recovered, outcome.recovered_after_s = within(
            fault.recovers_s, lambda: _is_whole(lab, outcome)
        )
    except LabError as error:
        outcome.error = str(error)
    if outcome.as_expected and outcome.recovered:
        times = (
            f"seen after {outcome.seen_after_s:.0f} s, whole again after {outcome.recovered_after_s:.0f} s"
        )
        lab.say(f"as expected: {fault.name}: {times}")
    else:
        lab.say(f"NOT AS EXPECTED: {fault.name}: {outcome.error or _told(outcome)}")
    return outcome


def within(limit_s: float, condition: Callable[[], bool]) -> tuple[bool, float]:
    """Whether a condition came to hold in time, and after how long. It is asked once at least.

    Raises:
        LabError: it could not be asked to the end.
    """
    started = time.monotonic()
    while True:
        late = time.monotonic() - started > limit_s
        try:
            holds = condition()
        except LabError:
            if late:
                raise
            holds = False
        if holds or late:
            return holds, round(time.monotonic() - started, 1)
        time.sleep(_PAUSE_S)


def _is_seen(lab: Lab, fault: FaultTable, outcome: Outcome) -> bool:
    document = lab.document()
    outcome.seen = tuple(sight_of(document, sight.volume) for sight in fault.expect)
    return all(is_as(seen, wanted) for seen, wanted in zip(outcome.seen, fault.expect, strict=True))


def _is_whole(lab: Lab, outcome: Outcome) -> bool:
    outcome.left = tuple(lab.differences(lab.document()))
    return not outcome.left


def sight_of(document: dict[str, Any], volume_id: str) -> SightTable:
    """Status and message of a volume in a document.

    Raises:
        LabError: the document has no such volume.
    """
    for volume in (volume for kind in _VOLUMES for volume in document[kind]):
        if volume["volume_id"] == volume_id:
            return SightTable(volume_id, volume["status"], volume["status_msg"])
    raise LabError(f"the document has no volume {volume_id!r}")


def is_as(seen: SightTable, wanted: SightTable) -> bool:
    """Whether the status is the wanted one and the pattern is found in the message."""
    return seen.status == wanted.status and re.search(wanted.message, seen.message) is not None


def _told(outcome: Outcome) -> str:
    if outcome.as_expected:
        return f"not whole again: {'; '.join(outcome.left)}"
    return "; ".join(f"{seen.volume} is {seen.status}: {seen.message}" for seen in outcome.seen)
