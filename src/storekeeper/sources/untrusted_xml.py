"""XML that a tool or a daemon printed: parsed without trust in it."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from storekeeper.errors import ToolFailed

_NUMBER = re.compile(r"\s*([0-9]{1,18})\s*", re.ASCII)


def parse(text: bytes | str, subject: str) -> Element:
    """The root element. Entities and document types are refused.

    Raises:
        ToolFailed: it is no such XML; `subject` says whose it was.
    """
    try:
        root: Element = fromstring(text, forbid_dtd=True)
    except ParseError as error:
        raise ToolFailed(subject, f"its XML cannot be read ({error})") from None
    except (DefusedXmlException, ValueError, LookupError):
        # ValueError and LookupError: an encoding that is not known, or a lone surrogate.
        raise ToolFailed(
            subject, "its XML holds what none of its kind does (entities or an encoding)"
        ) from None
    return root


def text_of(element: Element, path: str) -> str:
    """The trimmed text of the element at `path`, `""` when there is none."""
    return (element.findtext(path) or "").strip()


def number_of(element: Element, path: str) -> int | None:
    """The number at `path`, None when there is none: 0 or more, of at most 18 digits."""
    match = _NUMBER.fullmatch(element.findtext(path) or "")
    return int(match[1]) if match else None
