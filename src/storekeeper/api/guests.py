"""Guests: which there are, and what they own."""

from __future__ import annotations

import asyncio

from litestar import Controller, get
from litestar.params import FromPath
from litestar.response import Response

from storekeeper.api import answers
from storekeeper.api.hosts import known_of
from storekeeper.api.listing import Rows
from storekeeper.api.openapi import list_of
from storekeeper.api.routes import FAILURES, Asked, no_parameters, paged, ready, response
from storekeeper.document import GuestBasicInfo, GuestInfo
from storekeeper.errors import Conflict, NoSuchObject
from storekeeper.merge.guests import Guests as AllGuests
from storekeeper.merge.hosts import Known
from storekeeper.merge.truth import Truth


class GuestsKept:
    """All guests, made once for each truth, and again when time alone made them others."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._kept: tuple[Truth, float, AllGuests] | None = None

    async def of(self, truth: Truth, known: Known) -> AllGuests:
        """All guests of this truth, which is another one whenever a host told anything."""
        async with self._one_at_a_time:
            if self._kept is not None:
                kept_truth, since, guests = self._kept
                if kept_truth is truth and since <= known.now < guests.valid_until:
                    return guests
            # One pass over all images: in a thread.
            guests = await asyncio.to_thread(AllGuests, known.declaration, known.views, truth, known.now)
            self._kept = (truth, known.now, guests)
            return guests


class Guests(Controller):
    """Guests: which there are, and what they own."""

    path = "/guests"
    tags = ("Guests",)

    @get("/", responses={key: FAILURES[key] for key in (400, 503)}, operation_class=list_of(GuestBasicInfo))
    async def list_guests(self, request: Asked) -> Response[list[GuestBasicInfo]]:
        """All guests of all hosts, one for each UUID."""
        guests = await _guests(request)
        keys = ((name, key) for name, keys in guests.keys.items() for key in keys)
        return await paged(
            request, GuestBasicInfo, Rows(keys, ("guest_id",), lambda key: guests.basic(key[1]))
        )

    @get("/{guest_id:str}", responses=FAILURES)
    async def get_guest(self, request: Asked, guest_id: FromPath[str]) -> Response[GuestInfo]:
        """All that is known of a guest, by its name or its UUID."""
        no_parameters(request)
        guests = await _guests(request)
        named = guests.named(guest_id)
        if not named:
            raise await asyncio.to_thread(NoSuchObject, "guest", guest_id, tuple(guests.keys))
        if len(named) > 1:
            raise Conflict(
                f"{len(named)} guests have this name; ask by UUID: {', '.join(sorted(named)[:8])}."
            )
        return response(answers.made(answers.encode(guests.info(named[0]))))


async def _guests(request: Asked) -> AllGuests:
    kept: GuestsKept = request.app.state.guests
    return await kept.of(ready(request).truth(), known_of(request))
