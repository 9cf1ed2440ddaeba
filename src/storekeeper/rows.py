"""The rows of an array of the document, in blocks: a change makes only those anew that it touches."""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any, TypeVar, overload

# How many rows a block has on average; a power of two.
ROWS_A_BLOCK = 128
# Up to this share of all rows, finding the place of each is quicker than sorting all.
_FEW = 16

Row = TypeVar("Row")


class Rows(Sequence[Row]):
    """Rows sorted by their ids, each id there once. They never change, and are equal to a list of the same.

    Where a block begins follows from the rows alone, so that the same rows are in the same blocks, whatever
    there was before. `blocks`: none is empty. `firsts`: the id of the first row of each.
    """

    __slots__ = ("_id_of", "blocks", "firsts")

    def __init__(
        self,
        id_of: Callable[[Row], str],
        blocks: Sequence[tuple[Row, ...]] = (),
        firsts: Sequence[str] = (),
    ) -> None:
        self._id_of = id_of
        self.blocks = tuple(blocks)
        self.firsts = tuple(firsts)

    @classmethod
    def of(cls, rows: Sequence[Row], id_of: Callable[[Row], str]) -> Rows[Row]:
        """These sorted rows; the very same object if they are in blocks already."""
        return rows if isinstance(rows, Rows) else cls(id_of)._made_of(rows)

    def updated(self, changed: Mapping[str, Row | None]) -> Rows[Row]:
        """With these rows instead of those of the same ids; None: there is none. Itself when it is so.

        Blocks and rows that do not change stay the very same objects.
        """
        few = len(self) // _FEW
        if len(changed) > few:
            id_of = self._id_of
            rows: dict[str, Row | None] = {id_of(row): row for row in self}
            changed = {each: row for each, row in changed.items() if row != rows.get(each)}
            if len(changed) > few:
                rows.update(changed)
                return self._made_of([row for each in sorted(rows) if (row := rows[each]) is not None])
        return self._with(changed)

    def _with(self, changed: Mapping[str, Row | None]) -> Rows[Row]:
        """The same for few changes, fewer than there are rows: one after the other is made in its block."""
        id_of, blocks, firsts = self._id_of, list(self.blocks), list(self.firsts)
        for each, row in changed.items():
            number = max(bisect_right(firsts, each) - 1, 0)
            block = blocks[number]
            at = bisect_left(block, each, key=id_of)
            there = at < len(block) and id_of(block[at]) == each
            if row == (block[at] if there else None):
                continue
            # Only beside the change may a block begin or end now, and only the block before may go on.
            before = max(number - 1, 0)
            made = blocks[before:number]
            for part in (block[:at], () if row is None else (row,), block[at + there :]):
                if part and made and not _begins(id_of(part[0])):
                    made[-1] += part
                elif part:
                    made.append(part)
            blocks[before : number + 1] = made
            firsts[before : number + 1] = [id_of(each[0]) for each in made]
        return self._now(blocks, firsts)

    def _made_of(self, rows: Sequence[Row]) -> Rows[Row]:
        """All rows in blocks anew, in former ones as far as these are equal."""
        ids = [*map(self._id_of, rows)]
        checks = map(zlib.crc32, map(str.encode, ids))
        begins = [at for at, check in enumerate(checks) if not at or check % ROWS_A_BLOCK == 0]
        firsts = [ids[at] for at in begins]
        former = dict(zip(self.firsts, self.blocks, strict=True))
        made = (tuple(rows[at:end]) for at, end in pairwise([*begins, len(rows)]))
        blocks = [
            was if (was := former.get(first)) == block else block
            for first, block in zip(firsts, made, strict=True)
        ]
        return self._now(blocks, firsts)

    def _now(self, blocks: Sequence[tuple[Row, ...]], firsts: Sequence[str]) -> Rows[Row]:
        now = Rows(self._id_of, blocks, firsts)
        return self if now == self else now

    def __len__(self) -> int:
        return sum(map(len, self.blocks))

    def __iter__(self) -> Iterator[Row]:
        return chain.from_iterable(self.blocks)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        if isinstance(at, slice):
            return [*self][at]
        place = range(len(self))[at]
        number = 0
        while place >= len(self.blocks[number]):
            place -= len(self.blocks[number])
            number += 1
        return self.blocks[number][place]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Rows):
            return self.blocks == other.blocks
        return [*self] == [*other] if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as a list's

    def __repr__(self) -> str:
        return f"Rows({[*self]!r})"


def plain(value: Any) -> list[Any]:
    """What msgspec encodes rows as: for its `enc_hook`.

    Raises:
        NotImplementedError: they are none.
    """
    if isinstance(value, Rows):
        return [*value]
    raise NotImplementedError(f"{type(value).__name__} is not encoded")


def _begins(row_id: str) -> bool:
    """Whether a block begins with this row, wherever it is; one begins with the very first row as well."""
    return zlib.crc32(row_id.encode()) % ROWS_A_BLOCK == 0
