"""What must be seen after a fault, looked up in a document."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lab.errors import LabError
from lab.faults import image_ids, is_as, sight_of, still_listed, together, within
from lab.scenario import FaultTable, SightTable

DOCUMENT: dict[str, Any] = {
    "volumes": [
        {"volume_id": "ssd", "status": "broken", "status_msg": "Read-only on flexdev01.", "images": []}
    ],
    "external_volumes": [
        {"volume_id": "home", "status": "ok", "status_msg": "", "images": [{"image_id": "win.qcow2"}]}
    ],
    "gluster_volumes": [],
    "disks": [{"physical_disk_id": "35000c50015ea8002"}],
}
DOCUMENTS = {
    "empty": {"volumes": [], "external_volumes": [], "gluster_volumes": [], "disks": []},
    "farm": DOCUMENT,
}


def _fault(name: str, together: str = "") -> FaultTable:
    return FaultTable(name, (), (), together=together)


@pytest.mark.parametrize(("volume", "status"), [("ssd", "broken"), ("home", "ok")])
def test_a_volume_of_any_kind_is_found(volume: str, status: str) -> None:
    assert sight_of(DOCUMENTS, volume).status == status


def test_a_volume_that_is_not_in_the_document_is_told() -> None:
    with pytest.raises(LabError, match="has a volume 'other'"):
        sight_of(DOCUMENTS, "other")


def test_the_images_of_a_volume_are_found_by_their_ids() -> None:
    assert image_ids(DOCUMENTS, "home") == {"win.qcow2"}
    assert image_ids(DOCUMENTS, "ssd") == set()


def test_a_disk_that_must_leave_the_documents_is_told_while_it_is_in_one() -> None:
    without = {"farm": DOCUMENT | {"disks": []}}
    taken = ["35000c50015ea8002"]
    assert list(still_listed(taken, DOCUMENTS, DOCUMENTS)) == ["the disk 35000c50015ea8002 is listed"]
    assert list(still_listed(taken, DOCUMENTS, without)) == []


def test_a_disk_that_is_never_listed_does_not_count_as_one_that_left() -> None:
    assert list(still_listed(["3500"], DOCUMENTS, DOCUMENTS)) == [
        "the disk 3500 is not expected to be listed at any time"
    ]


def test_status_and_message_must_both_be_as_expected() -> None:
    seen = sight_of(DOCUMENTS, "ssd")
    assert is_as(seen, SightTable("ssd", "broken", "only on flexdev0[12]"))
    assert is_as(seen, SightTable("ssd", "broken"))
    assert not is_as(seen, SightTable("ssd", "degraded", "only"))
    assert not is_as(seen, SightTable("ssd", "broken", "I/O error"))


def test_a_condition_is_asked_until_it_holds() -> None:
    answers = iter([False, False, True])
    assert within(60, lambda: next(answers), time.monotonic())[0]


def test_a_condition_is_asked_once_at_least() -> None:
    assert within(-1, lambda: True, time.monotonic())[0]
    assert not within(-1, lambda: False, time.monotonic())[0]


def test_who_does_not_answer_yet_is_asked_again() -> None:
    asked: list[None] = []

    def condition() -> bool:
        asked.append(None)
        if len(asked) == 1:
            raise LabError("starting")
        return True

    assert within(60, condition, time.monotonic())[0]


def test_who_never_answers_is_told() -> None:
    def condition() -> bool:
        raise LabError("gone")

    with pytest.raises(LabError, match="gone"):
        within(-1, condition, time.monotonic())


def test_neighbours_of_one_word_happen_at_once_and_all_else_in_turn() -> None:
    faults = [_fault("a"), _fault("b"), _fault("c", "x"), _fault("d", "x"), _fault("e", "y"), _fault("f")]
    names = [[fault.name for fault in group] for group in together(faults)]
    assert names == [["a"], ["b"], ["c", "d"], ["e"], ["f"]]
