"""What changed of a document makes the new one of the old one, byte for byte, and nothing more is told."""

from __future__ import annotations

from time import perf_counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storekeeper.document import (
    CloneInfo,
    ExternalVolumeInfo,
    GlusterVolumeInfo,
    ImageInfo,
    ImageStorageInfo,
    PhysicalDiskInfo,
    VolumeInfo,
)
from storekeeper.document_changes import DocumentChange, VolumeChange, VolumesChange, difference, patched

encode = msgspec.json.encode

NAMES = st.sampled_from(["a", "b", "ab", "team/a", "é", "\uffff", "\U0001f600", "50%25.raw"])
WORDS = st.sampled_from(["", "x", "y"])
NUMBERS = st.integers(0, 2)


def images(volume_id: str, storage_id: str = "s") -> st.SearchStrategy[list[ImageInfo]]:
    rows = st.builds(ImageInfo, NAMES, st.just(volume_id), st.just(storage_id), WORDS, NUMBERS)
    return st.lists(rows, unique_by=lambda row: row.image_id).map(
        lambda found: sorted(found, key=lambda row: row.image_id)
    )


CLONES = st.lists(st.builds(CloneInfo, NAMES, NAMES, WORDS), unique_by=lambda row: row.clone_id).map(
    lambda found: sorted(found, key=lambda row: row.clone_id)
)
DISKS = st.lists(
    st.builds(PhysicalDiskInfo, NAMES, WORDS, WORDS, WORDS, WORDS), unique_by=lambda row: row.physical_disk_id
).map(lambda found: sorted(found, key=lambda row: row.physical_disk_id))
STATUSES = st.sampled_from(["ok", "broken"])


def volume(kind: type, volume_id: str) -> st.SearchStrategy[object]:
    own: dict[type, dict[str, st.SearchStrategy[object]]] = {
        VolumeInfo: {"primary_disk_id": WORDS},
        ExternalVolumeInfo: {"mount_point": WORDS},
        GlusterVolumeInfo: {
            "gvolume_name": WORDS, "bricks": st.lists(WORDS), "type": WORDS, "configuration": WORDS,
            "transport": WORDS,
        },
    }  # fmt: skip
    return st.builds(
        kind, volume_id=st.just(volume_id), status=STATUSES, status_msg=WORDS, total_space=NUMBERS,
        free_space=NUMBERS, images=images(volume_id), clones=CLONES, **own[kind],
    )  # fmt: skip


def volumes(kind: type) -> st.SearchStrategy[object]:
    ids = st.lists(st.sampled_from(["v1", "v2", "v3"]), unique=True)
    return ids.flatmap(lambda chosen: st.tuples(*(volume(kind, each) for each in chosen)).map(list))


DOCUMENTS = st.builds(
    ImageStorageInfo, hosts=st.lists(WORDS), volumes=volumes(VolumeInfo),
    external_volumes=volumes(ExternalVolumeInfo), gluster_volumes=volumes(GlusterVolumeInfo), disks=DISKS,
)  # fmt: skip


@given(DOCUMENTS, DOCUMENTS)
def test_a_change_makes_the_new_document_of_the_old_one(old: ImageStorageInfo, new: ImageStorageInfo) -> None:
    before = encode(old)
    sent = encode(difference(old, new))
    change = msgspec.json.decode(sent, type=DocumentChange)
    assert encode(patched(old, change)) == encode(new)
    assert encode(old) == before


@given(DOCUMENTS)
def test_equal_documents_differ_in_nothing(document: ImageStorageInfo) -> None:
    same = msgspec.json.decode(encode(document), type=ImageStorageInfo)
    assert encode(difference(document, same)) == b"{}"


def external(rows: list[ImageInfo], **fields: object) -> ImageStorageInfo:
    values: dict[str, object] = {
        "volume_id": "v", "mount_point": "/v", "status": "ok", "status_msg": "", "total_space": 2,
        "free_space": 1, "images": rows, "clones": [], **fields,
    }  # fmt: skip
    return ImageStorageInfo(
        hosts=["h1"], volumes=[], external_volumes=[msgspec.convert(values, ExternalVolumeInfo)],
        gluster_volumes=[], disks=[],
    )  # fmt: skip


def test_only_what_changed_is_told() -> None:
    rows = [ImageInfo(f"{number}.qcow2", "v", "s", "", 1) for number in range(3)]
    now = [rows[0], ImageInfo("1.qcow2", "v", "s", "guest", 1)]
    change = difference(external(rows), external(now, free_space=0))
    volume = VolumeChange(
        volume_id="v", fields={"free_space": 0}, images=[now[1]], images_gone=["2.qcow2"]
    )  # fmt: skip
    assert change == DocumentChange(external_volumes=VolumesChange(changed=[volume]))


@given(st.data())
def test_among_many_rows_just_those_that_came_changed_or_went_are_told(data: st.DataObject) -> None:
    rows = {f"{number:03}": ImageInfo(f"{number:03}", "v", "s", "", 1) for number in range(400)}
    some = st.sets(st.sampled_from(sorted(rows)), max_size=9)
    gone, changed = data.draw(some), data.draw(some)
    now = {key: row for key, row in rows.items() if key not in gone}
    fresh = {key: msgspec.structs.replace(now[key], size_mb=2) for key in changed - gone}
    fresh |= {f"{key}-new": ImageInfo(f"{key}-new", "v", "s", "", 1) for key in data.draw(some)}
    after = [row for _, row in sorted({**now, **fresh}.items())]
    change = difference(external(list(rows.values())), external(after)).external_volumes
    told = change.changed[0] if change is not None else VolumeChange(volume_id="v")
    assert (told.images_gone, told.images) == (sorted(gone), [row for _, row in sorted(fresh.items())])


def test_one_image_of_twenty_thousand_is_found_in_a_few_milliseconds() -> None:
    rows = [ImageInfo(f"{number:05}.qcow2", "v", "s", "", 1) for number in range(20_000)]
    now = [*rows[:9999], ImageInfo("09999.qcow2", "v", "s", "guest", 1), *rows[10_000:]]
    old = external([])
    volume = old.external_volumes[0]
    old, new = (
        msgspec.structs.replace(old, external_volumes=[msgspec.structs.replace(volume, images=each)])
        for each in (rows, now)
    )
    took_s = []
    for _ in range(5):
        began = perf_counter()
        change = difference(old, new)
        took_s.append(perf_counter() - began)
    assert change.external_volumes is not None
    assert change.external_volumes.changed == [VolumeChange(volume_id="v", images=[now[9999]])]
    # 0.4 ms here; far more would mean that rows are compared, not objects.
    assert min(took_s) < 0.03


@pytest.mark.parametrize(
    "change",
    [
        b'{"external_volumes": {"changed": [{"volume_id": "v", "fields": {"free_space": "much"}}]}}',
        b'{"external_volumes": {"changed": [{"volume_id": "w", "fields": {"free_space": 1}}]}}',
        b'{"external_volumes": {"order": ["w"]}}',
    ],
)
def test_a_change_that_does_not_fit_is_refused(change: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        patched(external([]), msgspec.json.decode(change, type=DocumentChange))
