"""Images built by hand from their specifications, mutated: no lie is an exception."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storekeeper.formats import identify
from tests.formats.by_hand import all_by_hand, crc32c
from tests.formats.memory_file import MemoryFile
from tests.formats.seeds import Seed, seen
from tests.formats.test_contract import must_be_honest, numbers

IMAGES = all_by_hand()


@pytest.mark.parametrize("seed", IMAGES.values(), ids=IMAGES)
def test_it_is_known_without_a_fault(seed: Seed) -> None:
    header = seen(seed.file())
    assert (header.format, header.faults) == (seed.format, ())


@pytest.mark.parametrize("seed", IMAGES.values(), ids=IMAGES)
def test_cut_at_any_byte_it_is_no_exception(seed: Seed) -> None:
    for size in range(min(seed.size, 1100)):
        file = seed.file(size)
        must_be_honest(identify(file), file)


@pytest.mark.parametrize("seed", IMAGES.values(), ids=IMAGES)
def test_a_file_that_shrinks_while_it_is_read_is_no_exception(seed: Seed) -> None:
    class Shrunk(MemoryFile):
        def _pread(self, offset: int, length: int) -> bytes:
            return super()._pread(offset, length)[: length // 2]

    file = Shrunk(seed.pieces, seed.size)
    must_be_honest(identify(file), file)


@st.composite
def lies(draw: st.DrawFn) -> MemoryFile:
    """One of the images with some bytes changed, in a file that may be cut or grown."""
    seed = draw(st.sampled_from(list(IMAGES.values())))
    patches = []
    for _ in range(draw(st.integers(1, 6))):
        at, piece = draw(st.sampled_from(sorted(seed.pieces.items())))
        offset = at + draw(st.integers(0, min(len(piece), 256)) | st.integers(0, len(piece)))
        patches.append((offset, draw(numbers() | st.binary(min_size=1, max_size=24))))
    size = draw(st.just(seed.size) | st.integers(0, seed.size) | st.integers(0, 2**63 - 1))
    return seed.patched(*patches, size=size)


@settings(max_examples=1000, deadline=2000)
@given(file=lies())
def test_a_lie_in_it_is_a_fault_and_never_an_exception(file: MemoryFile) -> None:
    must_be_honest(identify(file), file)


def test_the_checksums_here_are_those_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283
