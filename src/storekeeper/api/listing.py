"""Lists of rows: what a query string asks for, and the page that answers it. Pure.

Filters and `sort` name fields of the row; `fields` picks some; `limit` and the opaque `after` page
through. A page takes one pass over all rows and keeps no more of them than it answers with.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import nlargest, nsmallest
from operator import itemgetter
from typing import Any, NamedTuple, get_type_hints
from urllib.parse import parse_qsl, urlencode

import msgspec
from msgspec import Struct

from storekeeper.document import FaultDetail
from storekeeper.errors import UsageError

LIMIT_MAX = 1000
PARAMETERS_MAX = 100
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")

Key = tuple[str, ...]
Value = str | int
# What rows are ordered by: the field that `sort` names (or nothing), then the row's key.
Place = tuple[Value, Key]


class Query(Struct, frozen=True, kw_only=True):
    """A checked query. `sort` is a field or `""`; `filters`: any of these texts, for each field."""

    limit: int = LIMIT_MAX
    after: Place | None = None
    sort: str = ""
    descending: bool = False
    fields: tuple[str, ...] = ()
    filters: dict[str, list[str]] = {}


class Page(Struct, frozen=True, kw_only=True):
    """`rows` in their order, and the query string of the next page, `""` after the last."""

    rows: list[Any]
    next_query: str


def parameters(query_string: bytes) -> list[tuple[str, str]]:
    """The names and values of a query string.

    Raises:
        UsageError: it is not percent-encoded UTF-8, or has over PARAMETERS_MAX parameters.
    """
    if not query_string:
        return []
    if _BAD_ESCAPE.search(query_string):
        raise UsageError("The query has a % that two hexadecimal digits do not follow; write % as %25.")
    try:
        return parse_qsl(
            query_string.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict",
            max_num_fields=PARAMETERS_MAX,
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(
            f"A query is at most {PARAMETERS_MAX} times NAME=VALUE, joined by &, percent-encoded UTF-8."
        ) from error


def query(query_string: bytes, row: type[Struct], fields: tuple[str, ...] = ()) -> Query:
    """What a query string asks of rows of this type; of these fields where it names none.

    Raises:
        UsageError: an unknown parameter or field, a value that cannot be meant, one given twice.
    """
    given: dict[str, list[str]] = {}
    for name, value in parameters(query_string):
        given.setdefault(name, []).append(value)
    known = get_type_hints(row)
    limit = _limit(_one(given, "limit"))
    sort = _one(given, "sort") or ""
    named = _one(given, "fields")
    after = _one(given, "after")
    for name in given:
        if name not in known:
            raise UsageError(
                f"No parameter {_short(name)}. There is: limit, after, sort, fields, {', '.join(known)}."
            )
    descending, field = sort.startswith("-"), sort.removeprefix("-")
    if field and (field not in known or known[field] == list[str] or known[field] == list[FaultDetail]):
        raise UsageError(
            f"sort cannot be {_short(sort)}: give one field that is no list, -FIELD for descending."
        )
    return Query(
        limit=limit,
        after=None if after is None else _place(after, sort, _plain_type(known.get(field, str))),
        sort=field,
        descending=descending,
        fields=fields if named is None else _fields(named, known),
        filters=given,
    )


class Rows(NamedTuple):
    """What a list has: the keys of its rows, the fields that a key is made of, and a row from its key.

    `at_hand`: further fields that are known of a key without its row.
    """

    keys: Iterable[Key]
    key_fields: tuple[str, ...]
    row_of: Callable[[Key], Struct]
    at_hand: Mapping[str, Callable[[Key], Value | tuple[str, ...]]] = {}


def page(rows: Rows, asked: Query, query_string: bytes) -> Page:
    """The rows that `asked` wants; `query_string` is how it was asked.

    A row is made for the page itself, and before that only where a filter or the order needs one.
    """
    best = (nlargest if asked.descending else nsmallest)(asked.limit + 1, _places(rows, asked))
    found = [rows.row_of(key) for _, key in best[: asked.limit]]
    more = _next_query(query_string, asked, best[asked.limit - 1]) if len(best) > asked.limit else ""
    if not asked.fields:
        return Page(rows=found, next_query=more)
    return Page(rows=[{name: getattr(row, name) for name in asked.fields} for row in found], next_query=more)


def _places(rows: Rows, asked: Query) -> Iterator[Place]:
    after = asked.after
    at_hand: dict[str, Callable[[Key], Any]] = dict(rows.at_hand)
    at_hand.update((name, itemgetter(index)) for index, name in enumerate(rows.key_fields))
    by_key = [(at_hand[name], wanted) for name, wanted in asked.filters.items() if name in at_hand]
    by_row = [(name, wanted) for name, wanted in asked.filters.items() if name not in at_hand]
    order = at_hand.get(asked.sort)
    for key in _passing(rows.keys, by_key):
        value: Value = order(key) if order else ""
        if by_row or (asked.sort and not order):
            row = rows.row_of(key)
            if not all(_holds(getattr(row, name), wanted) for name, wanted in by_row):
                continue
            value = value if order or not asked.sort else getattr(row, asked.sort)
        place = (value, key)
        if after is None or (place < after if asked.descending else place > after):
            yield place


def _passing(keys: Iterable[Key], filters: Iterable[tuple[Callable[[Key], Any], list[str]]]) -> Iterable[Key]:
    """The keys that pass all filters; one after the other, so that the next sees only what is left."""
    for field_of, wanted in filters:
        keys = [key for key in keys if _holds(field_of(key), wanted)]
    return keys


def _holds(value: Any, wanted: list[str]) -> bool:
    """Whether a field has one of these values. Of a list: holds it, and `""` means the empty list."""
    if isinstance(value, str):
        return value in wanted
    if isinstance(value, list | tuple):
        if not value:
            return "" in wanted
        return any((item.code if isinstance(item, FaultDetail) else item) in wanted for item in value)
    if isinstance(value, bool):
        return ("true" if value else "false") in wanted
    return str(value) in wanted


def _one(given: dict[str, list[str]], name: str) -> str | None:
    values = given.pop(name, None)
    if values is None:
        return None
    if len(values) > 1:
        raise UsageError(f"{name} was given {len(values)} times; give it once.")
    return values[0]


def _limit(text: str | None) -> int:
    if text is None:
        return LIMIT_MAX
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= LIMIT_MAX):
        raise UsageError(f"limit must be a number from 1 to {LIMIT_MAX}, not {_short(text)}.")
    return int(text)


def _fields(text: str, known: dict[str, Any]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in known:
            raise UsageError(f"fields has no {_short(name)}. There is: {', '.join(known)}.")
    return names


def _short(text: str) -> str:
    return repr(text if len(text) <= 64 else text[:64] + "…")


_cursor = msgspec.json.Decoder(tuple[str, str | int | bool, Key])


def _plain_type(hint: Any) -> type:
    return hint if hint in {int, bool} else str


def _place(after: str, sort: str, type_: type) -> Place:
    """The place that a cursor stands for; a cursor remembers the order it was made in."""
    try:
        made_for, value, key = _cursor.decode(urlsafe_b64decode(after))
    except (ValueError, msgspec.DecodeError) as error:
        raise UsageError("after must be what the last page's Link header gave.") from error
    if made_for != sort or type(value) is not type_:
        raise UsageError("after belongs to a list in another order; start again without it.")
    return value, key


def _next_query(query_string: bytes, asked: Query, last: Place) -> str:
    sort = ("-" if asked.descending else "") + asked.sort
    cursor = urlsafe_b64encode(msgspec.json.encode((sort, *last))).decode()
    kept = [(name, value) for name, value in parameters(query_string) if name != "after"]
    return urlencode([*kept, ("after", cursor)])
