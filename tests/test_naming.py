"""Names from disks are printable, and nothing of them is lost."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storekeeper.naming import escape, unescape

# What a terminal or a browser would obey, or not show at all.
NEVER_SHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def shows_as_it_is(text: str) -> bool:
    return not any(unicodedata.category(character) in NEVER_SHOWN for character in text)


@given(st.binary(max_size=40))
def test_every_name_can_be_turned_back_into_its_own_bytes(name: bytes) -> None:
    assert unescape(escape(name)) == name


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_two_names_never_have_one_id(one: bytes, other: bytes) -> None:
    assert (escape(one) == escape(other)) == (one == other)


@given(
    st.one_of(st.binary(max_size=40), st.text(max_size=40), st.text("\ud800\udc80\udfff\u202e%a", max_size=9))
)
def test_an_id_holds_nothing_that_is_not_shown(name: bytes | str) -> None:
    assert shows_as_it_is(escape(name))


def test_every_character_that_is_not_shown_is_escaped() -> None:
    hidden = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in NEVER_SHOWN]
    assert [character for character in hidden if "%" not in escape(character)] == []


@pytest.mark.parametrize(
    ("name", "written"),
    [
        (b"win 10.qcow2", "win 10.qcow2"),
        ("größe.raw".encode(), "größe.raw"),
        (b"50%", "50%25"),
        (b"a\xffb\n", "a%FFb%0A"),
        ("evil\u202etxt".encode(), "evil%E2%80%AEtxt"),
    ],
)
def test_what_can_be_shown_stays_as_it_is(name: bytes, written: str) -> None:
    assert escape(name) == written
