"""Faults: done, looked for, undone, and told in `faults.json`, expected beside seen."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

import msgspec
from msgspec import Struct

from lab.errors import LabError
from lab.lab import Document, Lab
from lab.scenario import CheckTable, FaultTable, SightTable
from lab.verbs import Verb

_PAUSE_S = 0.5
_CHECK_TIMEOUT_S = 20.0
_VOLUMES = ("volumes", "external_volumes", "gluster_volumes")


class Outcome(Struct):
    """What came of one fault. Times in seconds since it was done, and since it was undone. `unmet`: what
    else was to be seen and was not, such as the checks that failed, with what they printed.
    """

    name: str
    expected: tuple[SightTable, ...]
    seen: tuple[SightTable, ...] = ()
    unmet: tuple[str, ...] = ()
    as_expected: bool = False
    seen_after_s: float = 0.0
    recovered: bool = False
    recovered_after_s: float = 0.0
    left: tuple[str, ...] = ()
    error: str = ""

    @property
    def is_good(self) -> bool:
        """Whether all was as expected."""
        return self.as_expected and self.recovered and not self.error


def try_faults(lab: Lab) -> bool:
    """Tries all faults of the scenario; whether all was as expected."""
    outcomes: list[Outcome] = []
    for faults in together(lab.scenario.faults):
        outcomes += try_together(lab, faults)
        told = msgspec.json.format(msgspec.json.encode(outcomes))
        (lab.results / "faults.json").write_bytes(told)
    return all(outcome.is_good for outcome in outcomes)


def together(faults: Iterable[FaultTable]) -> list[list[FaultTable]]:
    """The faults in the file's order, those that happen at once in one list."""
    grouped = groupby(enumerate(faults), lambda row: row[1].together or row[0])
    return [[fault for _, fault in rows] for _, rows in grouped]


def try_together(lab: Lab, faults: Sequence[FaultTable]) -> list[Outcome]:
    """Does faults one after the other, waits until each is seen, undoes them, waits until all is whole."""
    outcomes = [Outcome(fault.name, fault.expect) for fault in faults]
    rows = list(zip(faults, outcomes, strict=True))
    done_at = []
    for fault, outcome in rows:
        _do(lab, fault.do, outcome)
        done_at.append(time.monotonic())
    for (fault, outcome), began in zip(rows, done_at, strict=True):
        _await(lab, fault, outcome, began)
    for fault, outcome in rows:
        _do(lab, fault.undo, outcome)
    try:
        whole, after_s = within(
            max(fault.recovers_s for fault in faults), lambda: _is_whole(lab, outcomes), time.monotonic()
        )
    except LabError as error:
        whole, after_s = False, 0.0
        outcomes[0].error = outcomes[0].error or str(error)
    for outcome in outcomes:
        outcome.recovered, outcome.recovered_after_s = whole, after_s
        lab.say(_told(outcome))
    return outcomes


def _do(lab: Lab, verbs: Iterable[Verb], outcome: Outcome) -> None:
    try:
        for verb in verbs:
            verb.do(lab)
    except LabError as error:
        outcome.error = outcome.error or str(error)


def _await(lab: Lab, fault: FaultTable, outcome: Outcome, began: float) -> None:
    if outcome.error:
        return
    try:
        outcome.as_expected, outcome.seen_after_s = within(
            fault.within_s, lambda: _is_seen(lab, fault, outcome), began
        )
        until = time.monotonic() + fault.stays_s
        while outcome.as_expected and time.monotonic() < until:
            time.sleep(_PAUSE_S)
            outcome.as_expected = _is_seen(lab, fault, outcome)
    except LabError as error:
        outcome.as_expected, outcome.error = False, str(error)


def within(limit_s: float, condition: Callable[[], bool], began: float) -> tuple[bool, float]:
    """Whether a condition came to hold in time since `began`, and after how long. It is asked once at least.

    Raises:
        LabError: it could not be asked to the end.
    """
    while True:
        late = time.monotonic() - began > limit_s
        try:
            holds = condition()
        except LabError:
            if late:
                raise
            holds = False
        if holds or late:
            return holds, round(time.monotonic() - began, 1)
        time.sleep(_PAUSE_S)


def _is_seen(lab: Lab, fault: FaultTable, outcome: Outcome) -> bool:
    documents = lab.documents()
    outcome.seen = tuple(sight_of(documents, sight.volume) for sight in fault.expect)
    if not all(is_as(seen, wanted) for seen, wanted in zip(outcome.seen, fault.expect, strict=True)):
        return False
    outcome.unmet = tuple(_all_unmet(lab, fault, documents))
    return not outcome.unmet


def _all_unmet(lab: Lab, fault: FaultTable, documents: Mapping[str, Document]) -> Iterator[str]:
    for sight in fault.expect_hosts:
        host = lab.manager.host(sight.host)
        state, message = host["current_state"], host["error_msg"]
        if state != sight.state or not re.search(sight.message, message):
            yield f"{sight.host} is {state}: {message}"
    for wanted in fault.expect:
        there = image_ids(documents, wanted.volume)
        yield from (f"{wanted.volume} lacks {image}" for image in wanted.images if image not in there)
    yield from still_listed(fault.expect_unlisted, lab.expected, documents)
    if fault.unharmed:
        yield from lab.differences(documents)
    yield from (told for check in fault.checks if (told := _unmet(lab, check)))


def _unmet(lab: Lab, check: CheckTable) -> str:
    """What a check printed when it failed; "" when it holds."""
    ran = lab.hosts[check.host].guest.try_run(check.command, timeout_s=_CHECK_TIMEOUT_S)
    return "" if ran.status == 0 else f"{check.host}: {check.command}: {ran.output.strip() or ran.status}"


def _is_whole(lab: Lab, outcomes: Iterable[Outcome]) -> bool:
    left = tuple(lab.differences(lab.documents()))
    for outcome in outcomes:
        outcome.left = left
    return not left


def sight_of(documents: Mapping[str, Document], volume_id: str) -> SightTable:
    """Status and message of the volume of that id in any of the documents.

    Raises:
        LabError: none has such a volume.
    """
    volume = _volume(documents, volume_id)
    return SightTable(volume_id, volume["status"], volume["status_msg"])


def image_ids(documents: Mapping[str, Document], volume_id: str) -> set[str]:
    """The ids of the images of the volume of that id in any of the documents.

    Raises:
        LabError: none has such a volume.
    """
    return {image["image_id"] for image in _volume(documents, volume_id)["images"]}


def still_listed(
    disks: Iterable[str], expected: Mapping[str, Document], documents: Mapping[str, Document]
) -> Iterator[str]:
    """What is wrong with disks, by their ids, that `expected` lists and the documents seen must not."""
    known, listed = _disk_ids(expected), _disk_ids(documents)
    for disk in disks:
        if disk in listed:
            yield f"the disk {disk} is listed"
        elif disk not in known:
            yield f"the disk {disk} is not expected to be listed at any time"


def _disk_ids(documents: Mapping[str, Document]) -> set[str]:
    return {disk["physical_disk_id"] for document in documents.values() for disk in document["disks"]}


def _volume(documents: Mapping[str, Document], volume_id: str) -> Document:
    for document in documents.values():
        for volume in (volume for kind in _VOLUMES for volume in document[kind]):
            if volume["volume_id"] == volume_id:
                found: Document = volume
                return found
    raise LabError(f"no document has a volume {volume_id!r}")


def is_as(seen: SightTable, wanted: SightTable) -> bool:
    """Whether the status is the wanted one and the pattern is found in the message."""
    return seen.status == wanted.status and re.search(wanted.message, seen.message) is not None


def _told(outcome: Outcome) -> str:
    if outcome.is_good:
        return (
            f"as expected: {outcome.name}: seen after {outcome.seen_after_s:.0f} s, "
            f"whole again after {outcome.recovered_after_s:.0f} s"
        )
    wrong = [outcome.error] if outcome.error else []
    if not outcome.as_expected:
        wrong += [f"{seen.volume} is {seen.status}: {seen.message}" for seen in outcome.seen]
        wrong += outcome.unmet
    if outcome.left:
        wrong.append(f"not whole again: {'; '.join(outcome.left)}")
    return f"NOT AS EXPECTED: {outcome.name}: {'; '.join(wrong)}"
