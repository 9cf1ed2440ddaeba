"""What every row of FORMATS must keep. A format is tested by being there; its seeds are real headers."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storekeeper.errors import Unreadable
from storekeeper.formats import FORMATS, contract, identify
from storekeeper.formats.contract import READ_LIMIT_BYTES, SECTOR_BYTES
from storekeeper.naming import escape, unescape
from storekeeper.observation import UNKNOWN, Header
from tests.formats.memory_file import MemoryFile
from tests.formats.seeds import Seed, overwritten, seeds

READS_LIMIT = 256
EXTENTS_LIMIT = 65536
NAME_LIMIT = 3 * 4096
CODES = set(re.findall(r"^- `([a-z-]+)`:", contract.__doc__ or "", re.MULTILINE))

TELLING_NUMBERS = [0, 1, 3, 511, 4096, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]


@st.composite
def numbers(draw: st.DrawFn) -> bytes:
    """A number as headers hold them, often one at which arithmetic goes wrong."""
    width = draw(st.sampled_from((1, 2, 4, 8)))
    value = draw(st.sampled_from(TELLING_NUMBERS) | st.integers(0, 2**64 - 1))
    big: bytes = (value % 256**width).to_bytes(width, "big")
    return big if draw(st.booleans()) else big[::-1]


@st.composite
def lies(draw: st.DrawFn) -> MemoryFile:
    """A real header with some bytes changed, in a file that may be cut or grown."""
    seed = draw(st.sampled_from(list(seeds().values())))
    patches = []
    for _ in range(draw(st.integers(0, 6))):
        at, piece = draw(st.sampled_from(sorted(seed.pieces.items())))
        offset = at + draw(st.integers(0, min(len(piece), 128)) | st.integers(0, len(piece)))
        patches.append((offset, draw(numbers() | st.binary(min_size=1, max_size=24))))
    size = draw(
        st.just(seed.size)
        | st.integers(0, seed.size)
        | st.integers(0, 2048)
        | st.integers(0, 2**63 - 1)
        | st.sampled_from((2**63 - 1, SECTOR_BYTES - 1, SECTOR_BYTES))
    )
    return seed.patched(*patches, size=size)


@st.composite
def magics_before_noise(draw: st.DrawFn) -> MemoryFile:
    """The magic of a format, and nothing true behind it."""
    offset, magic = draw(st.sampled_from([pair for row in FORMATS for pair in row.magic]))
    noise = draw(st.binary(max_size=600))
    if offset >= 0:
        return MemoryFile(draw(st.binary(min_size=offset, max_size=offset)) + magic + noise)
    return MemoryFile((magic + noise)[:SECTOR_BYTES].ljust(SECTOR_BYTES, b"\0"))


def must_be_honest(header: Header | None, file: MemoryFile) -> None:
    assert file.total_read <= READ_LIMIT_BYTES
    assert len(file.reads) <= READS_LIMIT
    if header is None:
        return
    assert header.format in {row.name for row in FORMATS}
    assert header.virtual_bytes == UNKNOWN or 0 <= header.virtual_bytes < 2**63
    assert header.virtual_bytes != UNKNOWN or header.faults
    assert {fault.code for fault in header.faults} <= CODES
    assert len(header.extents) <= EXTENTS_LIMIT
    parents = header.parent.names if header.parent else ()
    for name in (*parents, *(extent.name for extent in header.extents), header.data_file, header.unique_id):
        assert len(name) <= NAME_LIMIT
        assert escape(unescape(name)) == name
    for number in (
        header.cluster_bytes,
        header.internal_snapshots,
        *(extent.size_bytes for extent in header.extents),
    ):
        assert 0 <= number < 2**63
    msgspec.msgpack.encode(header)


@settings(max_examples=1000, deadline=2000)
@given(file=lies())
def test_a_lying_header_is_a_header_with_faults_and_never_an_exception(file: MemoryFile) -> None:
    must_be_honest(identify(file), file)


@settings(max_examples=300, deadline=2000)
@given(file=magics_before_noise())
def test_a_magic_number_alone_promises_nothing(file: MemoryFile) -> None:
    must_be_honest(identify(file), file)


@pytest.mark.parametrize("row", FORMATS, ids=lambda row: row.name)
def test_every_format_has_real_headers_to_be_tested_with(row: contract.Format) -> None:
    assert row.name in {seed.format for seed in seeds().values()}


@pytest.mark.parametrize("seed", seeds().values(), ids=seeds())
class TestOfEachRealHeader:
    def test_it_is_known_without_a_fault(self, seed: Seed) -> None:
        file = seed.file()
        header = identify(file)
        assert header is not None
        assert (header.format, header.faults) == (seed.format, ())
        must_be_honest(header, file)

    def test_cut_at_any_byte_it_is_no_exception(self, seed: Seed) -> None:
        for size in range(min(seed.size, 1100)):
            file = seed.file(size)
            must_be_honest(identify(file), file)

    def test_a_kernel_that_cannot_read_is_the_hosts_error_and_no_fault_of_the_header(
        self, seed: Seed
    ) -> None:
        class Broken(MemoryFile):
            def _pread(self, offset: int, length: int) -> bytes:
                raise Unreadable("x", "Input/output error")

        file = Broken(seed.pieces, seed.size)
        try:
            header = identify(file)
        except Unreadable:
            return
        assert header == identify(seed.file()), "what did not read may not say otherwise"

    def test_a_file_that_shrinks_while_it_is_read_is_no_exception(self, seed: Seed) -> None:
        class Shrunk(MemoryFile):
            def _pread(self, offset: int, length: int) -> bytes:
                return super()._pread(offset, length)[: length // 2]

        file = Shrunk(overwritten(seed.pieces, ()), seed.size)
        must_be_honest(identify(file), file)
