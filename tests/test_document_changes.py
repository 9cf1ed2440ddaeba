"""What changed of a document makes the new one of the old one, byte for byte, and nothing more is told."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from time import perf_counter
from typing import Any

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
from storekeeper.rows import Rows, plain

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


def external(rows: Sequence[ImageInfo], **fields: object) -> ImageStorageInfo:
    values: dict[str, object] = {
        "volume_id": "v", "mount_point": "/v", "status": "ok", "status_msg": "", "total_space": 2,
        "free_space": 1, "images": [], "clones": [], **fields,
    }  # fmt: skip
    volume = msgspec.structs.replace(msgspec.convert(values, ExternalVolumeInfo), images=rows)
    return ImageStorageInfo(
        hosts=["h1"], volumes=[], external_volumes=[volume], gluster_volumes=[], disks=[]
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


def in_blocks(document: ImageStorageInfo) -> ImageStorageInfo:
    """The same as the merge makes it."""
    volumes = [
        msgspec.structs.replace(each, images=Rows.of(each.images, attrgetter("image_id")))
        for each in document.external_volumes
    ]
    return msgspec.structs.replace(document, external_volumes=volumes)


@given(DOCUMENTS, DOCUMENTS, st.booleans(), st.booleans())
def test_whether_rows_are_in_blocks_or_a_list_the_change_is_the_same(
    old: ImageStorageInfo, new: ImageStorageInfo, old_so: bool, new_so: bool
) -> None:
    one, other = (in_blocks(old) if old_so else old), (in_blocks(new) if new_so else new)
    change = difference(one, other)
    assert encode(change) == encode(difference(old, new))
    assert encode(patched(one, change), enc_hook=plain) == encode(new)


@given(st.data())
def test_of_rows_in_blocks_just_those_that_came_changed_or_went_are_told(data: st.DataObject) -> None:
    ids = [f"{number:03}" for number in range(600)]
    rows = Rows.of([ImageInfo(each, "v", "s", "", 1) for each in ids[:400]], lambda row: row.image_id)
    sizes = data.draw(st.dictionaries(st.sampled_from(ids), st.none() | st.integers(1, 2), max_size=9))
    changed = {each: ImageInfo(each, "v", "s", "", size) if size else None for each, size in sizes.items()}
    now = rows.updated(changed)
    old, new = external(rows), external(now)
    change = difference(old, new)
    assert change == difference(external([*rows]), external([*now]))
    assert encode(patched(old, change), enc_hook=plain) == encode(new, enc_hook=plain)


def test_rows_of_a_block_that_both_have_are_not_looked_at() -> None:
    def id_of(row: ImageInfo) -> str:
        return row.image_id

    # Whatever is asked of its row fails.
    block: tuple[Any] = (object(),)
    old = Rows(id_of, [(ImageInfo("a", "v", "s", "", 1),), block], ["a", "b"])
    change = difference(external(old), external(Rows(id_of, [block], ["b"])))
    volume = VolumeChange(volume_id="v", images_gone=["a"])
    assert change == DocumentChange(external_volumes=VolumesChange(changed=[volume]))


def test_one_image_of_twenty_thousand_is_found_in_a_few_milliseconds() -> None:
    rows = [ImageInfo(f"{number:05}.qcow2", "v", "s", "", 1) for number in range(20_000)]
    now = [*rows[:9999], ImageInfo("09999.qcow2", "v", "s", "guest", 1), *rows[10_000:]]
    old, new = external(rows), external(now)
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
