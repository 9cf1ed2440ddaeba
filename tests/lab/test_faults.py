"""What must be seen after a fault, looked up in a document."""

from __future__ import annotations

import pytest

from lab.errors import LabError
from lab.faults import is_as, sight_of, within
from lab.scenario import SightTable

DOCUMENT = {
    "volumes": [{"volume_id": "ssd", "status": "broken", "status_msg": "Read-only on flexdev01."}],
    "external_volumes": [{"volume_id": "home", "status": "ok", "status_msg": ""}],
    "gluster_volumes": [],
}


@pytest.mark.parametrize(("volume", "status"), [("ssd", "broken"), ("home", "ok")])
def test_a_volume_of_any_kind_is_found(volume: str, status: str) -> None:
    assert sight_of(DOCUMENT, volume).status == status


def test_a_volume_that_is_not_in_the_document_is_told() -> None:
    with pytest.raises(LabError, match="no volume 'other'"):
        sight_of(DOCUMENT, "other")


def test_status_and_message_must_both_be_as_expected() -> None:
    seen = sight_of(DOCUMENT, "ssd")
    assert is_as(seen, SightTable("ssd", "broken", "only on flexdev0[12]"))
    assert is_as(seen, SightTable("ssd", "broken"))
    assert not is_as(seen, SightTable("ssd", "degraded", "only"))
    assert not is_as(seen, SightTable("ssd", "broken", "I/O error"))


def test_a_condition_is_asked_until_it_holds() -> None:
    answers = iter([False, False, True])
    assert within(60, lambda: next(answers))[0]


def test_a_condition_is_asked_once_at_least() -> None:
    assert within(-1, lambda: True)[0]
    assert not within(-1, lambda: False)[0]


def test_who_does_not_answer_yet_is_asked_again() -> None:
    asked: list[None] = []

    def condition() -> bool:
        asked.append(None)
        if len(asked) == 1:
            raise LabError("starting")
        return True

    assert within(60, condition)[0]


def test_who_never_answers_is_told() -> None:
    def condition() -> bool:
        raise LabError("gone")

    with pytest.raises(LabError, match="gone"):
        within(-1, condition)
