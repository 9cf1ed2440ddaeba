"""What must be seen after a fault, looked up in a document."""

from __future__ import annotations

import pytest

from lab.errors import LabError
from lab.faults import is_as, sight_of
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
