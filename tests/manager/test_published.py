"""What is served is prepared once, and every encoding holds the same document."""

from __future__ import annotations

import gzip
from collections.abc import Sequence

import msgspec
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from storekeeper.document import CloneInfo, ExternalVolumeInfo, ImageInfo, ImageStorageInfo
from storekeeper.manager.published import Published, publish, publish_storage
from storekeeper.rows import ROWS_A_BLOCK, Rows, plain

# How an empty volume is written, which a name may hold.
NAMES = st.one_of(
    st.integers(0, 4 * ROWS_A_BLOCK).map("vm-{:03}.qcow2".format),
    st.just('"images":[],"clones":[]'),
    st.text(),
)


def volume(volume_id: str, sizes: dict[str, int], clones: Sequence[str], message: str) -> ExternalVolumeInfo:
    return ExternalVolumeInfo(
        volume_id=volume_id, mount_point="/v", status="ok", status_msg=message, total_space=2, free_space=1,
        images=[ImageInfo(key, volume_id, "s", "", sizes[key]) for key in sorted(sizes)],
        clones=[CloneInfo(key, "base", "") for key in sorted(clones)],
    )  # fmt: skip


def document(*volumes: ExternalVolumeInfo) -> ImageStorageInfo:
    return ImageStorageInfo(
        hosts=["h"], volumes=[], external_volumes=list(volumes), gluster_volumes=[], disks=[]
    )


def in_blocks(one: ExternalVolumeInfo) -> ExternalVolumeInfo:
    """The same as the merge makes it; a client has lists."""
    return replace(
        one,
        images=Rows.of(one.images, lambda row: row.image_id),
        clones=Rows.of(one.clones, lambda row: row.clone_id),
    )


LISTS = st.builds(
    volume, st.just("v"), st.dictionaries(NAMES, st.integers(0, 3)), st.sets(NAMES).map(list), NAMES
)
VOLUMES = LISTS | LISTS.map(in_blocks)
DOCUMENTS = st.builds(document, VOLUMES, VOLUMES) | st.builds(document, VOLUMES)
MANY = {f"vm-{number:05}.qcow2": 10 for number in range(40 * ROWS_A_BLOCK)}


def holds(published: Published, document: bytes) -> None:
    assert published.identity == document
    assert gzip.decompress(published.gzip) == document
    assert zstandard.ZstdDecompressor().decompress(published.zstd) == document


@settings(deadline=None)
@given(st.binary(max_size=4096))
def test_every_encoding_holds_the_document(document: bytes) -> None:
    holds(publish(document), document)


@settings(deadline=None)
@given(st.lists(DOCUMENTS, min_size=1, max_size=5))
def test_whatever_was_served_before_the_same_document_has_the_same_bytes_and_etag(
    history: list[ImageStorageInfo],
) -> None:
    now: Published | None = None
    for each in history:
        now = publish_storage(each, now)
        anew = publish_storage(each)
        holds(now, msgspec.json.encode(each, enc_hook=plain))
        assert (now.gzip, now.zstd, now.etag) == (anew.gzip, anew.zstd, anew.etag)


def test_a_change_of_one_image_makes_one_piece_of_rows_anew() -> None:
    before = publish_storage(document(volume("v", MANY, [], "")))
    after = publish_storage(document(volume("v", {**MANY, "vm-02000.qcow2": 11}, [], "")), before)
    known = {*before.pieces.values()}
    assert sum(piece not in known for piece in after.pieces.values()) == 1


def test_an_image_that_comes_leaves_those_after_it_in_their_pieces() -> None:
    before = publish_storage(document(volume("v", MANY, [], "")))
    after = publish_storage(document(volume("v", {**MANY, "vm-00001-new.qcow2": 10}, [], "")), before)
    known = {*before.pieces.values()}
    assert sum(piece not in known for piece in after.pieces.values()) <= 2


def test_a_block_that_was_the_first_and_is_not_any_more_follows_a_comma() -> None:
    last = in_blocks(volume("v", MANY, [], "")).images
    assert isinstance(last, Rows)
    alone = {last.firsts[-1]: 1}
    before = publish_storage(document(volume("v", alone, [], "")))
    now = document(volume("v", {"a": 1, **alone}, [], ""))
    assert publish_storage(now, before).identity == msgspec.json.encode(now)
    assert publish_storage(document(volume("v", alone, [], "")), publish_storage(now)).etag == before.etag


def test_an_encoding_is_made_ahead_where_the_former_document_was_asked_for_in_it() -> None:
    first = publish_storage(document(volume("v", {"a": 1}, [], "")))
    second = publish_storage(document(volume("v", {"a": 2}, [], "")), first)
    assert first.made == second.made == frozenset()
    assert second.gzip
    third = publish_storage(document(volume("v", {"a": 3}, [], "")), second)
    fourth = publish_storage(document(volume("v", {"a": 4}, [], "")), third)
    assert third.made == {"gzip"}
    assert fourth.made == frozenset()


def test_a_document_that_is_the_same_is_the_former_one() -> None:
    before = publish_storage(document(volume("v", MANY, ["c"], "")))
    assert publish_storage(document(volume("v", MANY, ["c"], "")), before) is before


def test_the_same_document_has_the_same_bytes_and_etag_on_every_host_at_any_time() -> None:
    first, second = publish(b'{"hosts":[]}'), publish(b'{"hosts":[]}')
    assert (first.gzip, first.zstd, first.etag) == (second.gzip, second.zstd, second.etag)


def test_another_document_has_another_etag() -> None:
    assert publish(b"a").etag != publish(b"b").etag
    assert len(publish(b"a").etag) == 32
