"""The one renderer: rows as a table for people, or as JSON, JSON Lines or CSV for programs.

Tables fit the terminal; off a terminal nothing is cut and nothing is coloured. Rows hold plain values
under the API's own names, and that is what programs get; a column says how a person sees one.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from unicodedata import combining, east_asian_width

import click
import msgspec
from msgspec import Struct

from storekeeper.errors import UsageError

FORMATS = ("table", "json", "jsonl", "csv")
WIDTH_WITHOUT_TERMINAL = 80
NARROWEST = 8
UNITS = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")

Row = Mapping[str, Any]

# What a terminal would obey, or what reorders text: as `storekeeper.naming`, for text that is no name.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_STATUS = {
    "ok": ("ok", "green"),
    "degraded": ("! degraded", "yellow"),
    "broken": ("X broken", "red"),
    "unknown": ("? unknown", "magenta"),
}


class Column(NamedTuple):
    """How a field is shown. `name` is its header in lower case and what --columns and --sort take.

    `show` makes text of the field; -b shows what `size` would show as it is. `cut`: may be shortened to
    fit. `ages`: marked `~` in a row that is `stale`, which is only what was last seen.
    """

    name: str
    field: str
    show: Callable[[Any], str] = str
    right: bool = False
    cut: bool = False
    style: Callable[[Any], str | None] = lambda _: None
    ages: bool = False


class View(Struct, frozen=True, kw_only=True):
    """What the options of a listing command ask for."""

    format: str = "table"
    header: bool = True
    exact: bool = False
    columns: str = ""
    sort: str = ""


# --- values ---------------------------------------------------------------------------------------


def printable(text: str) -> str:
    r"""Text without anything that a terminal obeys.

    >>> print(printable("a\x1b[31mb\u202e"))
    a\x1b[31mb\u202e
    """
    return _UNSAFE.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


def size(count: int) -> str:
    """Bytes as a table shows them.

    >>> [size(n) for n in (0, 1023, 1536, 20 << 30, 915 << 30, 1433 << 30, -1)]
    ['0', '1023', '1.5Ki', '20Gi', '915Gi', '1.4Ti', '-']
    """
    return _sized(count, "") if count >= 0 else "-"


def size_in_prose(count: int) -> str:
    """Bytes as a sentence says them.

    >>> size_in_prose(20 << 30), size_in_prose(0)
    ('20 GiB', '0 B')
    """
    text = _sized(count, " ") if count >= 0 else "unknown"
    return text + "B" if text[-1:] == "i" else f"{text} B" if text.isdigit() else text


def _sized(count: int, gap: str) -> str:
    value = float(count)
    for unit in UNITS:
        if value < 1000 or unit == UNITS[-1] or (value < 1024 and not unit):
            break
        value /= 1024
    text = f"{value:.1f}".removesuffix(".0") if value < 100 else f"{value:.0f}"
    return text + (gap + unit if unit else "")


def status(word: str) -> str:
    """A status as shape and word."""
    return _STATUS[word][0] if word in _STATUS else word


def status_colour(word: str) -> str | None:
    """The colour of a status."""
    return _STATUS[word][1] if word in _STATUS else None


def joined(values: Any) -> str:
    """A list in one cell."""
    return ",".join(map(str, values)) or "-"


def or_dash(text: Any) -> str:
    """A text; a dash when there is none."""
    return str(text) if text not in {"", None} else "-"


# --- what a command calls -------------------------------------------------------------------------


def listing(rows: Iterable[Any], columns: Sequence[Column], fields: Sequence[str], view: View) -> bool:
    """Prints rows (structs or mappings). `fields`: all that a row has, beyond the `columns` of the table.

    Returns whether remarks for a person may follow: it was a table, with a header.

    Raises:
        UsageError: --columns or --sort names what is no column.
    """
    known = {column.name: column for column in columns}
    for field in fields:
        if field not in {column.field for column in columns}:
            known[field] = Column(field, field, _plain)
    if view.columns == "help":
        width = max(map(len, known))
        for column in known.values():
            write(f"{column.name:{width}}  {column.field}")
        return False
    chosen = [_named(name, known, "--columns") for name in view.columns.split(",")] if view.columns else None
    plain: list[Row] = [msgspec.to_builtins(row) for row in rows]
    if view.sort:
        column = _named(view.sort.removeprefix("-"), known, "--sort")
        plain.sort(key=lambda row: row[column.field], reverse=view.sort.startswith("-"))
    if view.format == "table":
        _table(plain, chosen or columns, view)
        return view.header
    wanted = [column.field for column in chosen] if chosen else list(fields)
    _data([{field: row[field] for field in wanted} for row in plain], wanted, view)
    return False


def whole(value: Any, view: View) -> bool:
    """Prints one object as JSON if a program is to read it. Returns whether it did."""
    if view.format not in {"json", "jsonl"}:
        return False
    write(_json(value, indented=view.format == "json"))
    return True


def write(text: str) -> None:
    """One line to standard output."""
    sys.stdout.write(text + "\n")


def styled(text: str, colour: str | None, *, bold: bool = False) -> str:
    """Coloured where standard output is a terminal that wants it."""
    return click.style(text, fg=colour, bold=bold or None) if (colour or bold) and _coloured() else text


def width() -> int | None:
    """How wide a line may be; None where nothing is to be cut."""
    return shutil.get_terminal_size((WIDTH_WITHOUT_TERMINAL, 24)).columns if sys.stdout.isatty() else None


# --- how ------------------------------------------------------------------------------------------


def _named(name: str, known: Mapping[str, Column], option: str) -> Column:
    for column in known.values():
        if name in {column.name, column.field}:
            return column
    raise UsageError(f"{option}: no column {name!r}. There is: {', '.join(known)}.")


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(item["code"] if isinstance(item, dict) else str(item) for item in value) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return or_dash(value)


def _coloured() -> bool:
    terminal = os.environ.get("TERM", "") not in {"dumb", ""}
    return terminal and "NO_COLOR" not in os.environ and sys.stdout.isatty()


def _json(value: Any, *, indented: bool) -> str:
    encoded = msgspec.json.encode(value)
    return (msgspec.json.format(encoded, indent=2) if indented else encoded).decode()


def _data(rows: list[dict[str, Any]], fields: Sequence[str], view: View) -> None:
    if view.format == "json":
        write(_json(rows, indented=True))
    elif view.format == "jsonl":
        for row in rows:
            write(_json(row, indented=False))
    else:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        if view.header:
            writer.writerow(fields)
        for row in rows:
            writer.writerow(
                "" if value in ([], None) else _plain(value) if isinstance(value, list) else value
                for value in row.values()
            )


def _table(rows: Sequence[Row], columns: Sequence[Column], view: View) -> None:
    cells = [[_cell(row, column, view) for column in columns] for row in rows]
    head = [column.name.upper() for column in columns]
    lines = [head, *cells] if view.header else cells
    widths = [max((cell_width(line[index]) for line in lines), default=0) for index in range(len(columns))]
    _fit(widths, columns)
    if view.header:
        write(_line(head, widths, columns, None))
    for row, line in zip(rows, cells, strict=True):
        write(_line(line, widths, columns, row))


def _cell(row: Row, column: Column, view: View) -> str:
    value = row[column.field]
    if view.exact and column.show is size:
        text = str(value) if value >= 0 else "-"
    else:
        text = printable(column.show(value))
    return "~" + text if column.ages and row.get("stale") else text


def _fit(widths: list[int], columns: Sequence[Column]) -> None:
    """Narrows the widest of the columns that may be cut until all fit."""
    room = width()
    cuttable = [index for index, column in enumerate(columns) if column.cut]
    while room is not None and cuttable and sum(widths) + 2 * (len(widths) - 1) > room:
        widest = max(cuttable, key=widths.__getitem__)
        if widths[widest] <= NARROWEST:
            return
        widths[widest] -= 1


def _line(cells: Sequence[str], widths: Sequence[int], columns: Sequence[Column], row: Row | None) -> str:
    parts = []
    for cell, room, column in zip(cells, widths, columns, strict=True):
        text = cell if cell_width(cell) <= room else shortened(cell, room)
        gap = " " * (room - cell_width(text))
        text = styled(text, column.style(row[column.field])) if row else text
        parts.append(gap + text if column.right else text + gap)
    return "  ".join(parts).rstrip()


def cell_width(text: str) -> int:
    """How many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def shortened(text: str, room: int) -> str:
    """A text cut in its middle, where names of desktops differ least.

    >>> shortened("team/desktop_00017.qcow2", 12)
    'team/….qcow2'
    """
    left = (room - 1) // 2
    right = room - 1 - left
    while cell_width(text[:left]) + cell_width(text[len(text) - right :]) + 1 > room:
        left, right = left - 1, right - 1
    return f"{text[:left]}…{text[len(text) - right :]}"
