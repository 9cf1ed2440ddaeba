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


class Guests(Controller):
    """Guests: which there are, and what they own."""

    path = "/guests"
    tags = ("Guests",)

    @get("/", responses={key: FAILURES[key] for key in (400, 503)}, operation_class=list_of(GuestBasicInfo))
    async def list_guests(self, request: Asked) -> Response[list[GuestBasicInfo]]:
        """All guests of all hosts, one for each UUID."""
        guests = await _guests(request)
        keys = [(definitions[0].guest.key, key) for key, definitions in guests.definitions.items()]
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
            names = {definitions[0].guest.key for definitions in guests.definitions.values()}
            raise await asyncio.to_thread(NoSuchObject, "guest", guest_id, tuple(sorted(names)))
        if len(named) > 1:
            raise Conflict(
                f"{len(named)} guests have this name; ask by UUID: {', '.join(sorted(named)[:8])}."
            )
        return response(answers.made(answers.encode(guests.info(named[0]))))


async def _guests(request: Asked) -> AllGuests:
    truth, known = ready(request).truth(), known_of(request)
    # One pass over all images: in a thread.
    return await asyncio.to_thread(AllGuests, known.declaration, known.views, truth, known.now)
