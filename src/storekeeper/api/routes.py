"""The routes: parse, ask the truth, answer. Everything is GET; the door makes HEAD of it.

What takes time with many images (a pass over all rows, encoding a page) happens in a thread, so that no
request holds the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import unquote

from litestar import Controller, Request, get
from litestar.datastructures import State
from litestar.params import FromPath
from litestar.response import Response
from msgspec import Struct

from storekeeper import __version__
from storekeeper.api import answers
from storekeeper.api.contract import Manager
from storekeeper.api.listing import Key, Rows, page, parameters, query
from storekeeper.api.openapi import error_of, list_of
from storekeeper.document import (
    DiskDetail,
    ImageDetail,
    ImageStorageBasicInfo,
    ImageStorageInfo,
    ManagerInfo,
    ManagerResult,
    ManagerVersion,
)
from storekeeper.errors import NoSuchObject, NotKnown, UsageError
from storekeeper.manager.published import Published
from storekeeper.merge.details import AT_HAND, image_detail
from storekeeper.merge.truth import ImageTruth, StorageTruth, VolumeTruth

# What a client may rely on; only ever added to.
CAPABILITIES = ["imagestorages", "images", "disks", "etag", "gzip", "zstd", "events"]

Asked = Request[None, None, State]
V = TypeVar("V")

_BAD = error_of("The request cannot be meant")
_UNKNOWN = error_of("There is no such object")
_STARTING = error_of("The manager has just started")
FAILURES = {400: _BAD, 404: _UNKNOWN, 503: _STARTING}


class ImageStorages(Controller):
    """Image storages and what is in them."""

    path = "/imagestorages"
    tags = ("Image storages",)

    @get("/", responses=FAILURES)
    async def list_image_storages(self, request: Asked) -> Response[list[ImageStorageBasicInfo]]:
        """All image storages, with their hosts."""
        no_parameters(request)
        return _prepared(request, ready(request).listing())

    @get("/{image_storage_id:str}", responses=FAILURES)
    async def get_image_storage(
        self, request: Asked, image_storage_id: FromPath[str]
    ) -> Response[ImageStorageInfo]:
        """The full information of an image storage."""
        no_parameters(request)
        manager = ready(request)
        published = manager.published(image_storage_id)
        if published is None:
            raise NoSuchObject("image storage", image_storage_id, manager.storages())
        return _prepared(request, published)

    @get("/{image_storage_id:str}/images", responses=FAILURES, operation_class=list_of(ImageDetail))
    async def list_images(
        self, request: Asked, image_storage_id: FromPath[str]
    ) -> Response[list[ImageDetail]]:
        """All that is known of the images and clones of an image storage."""
        volumes = _storage(request, image_storage_id).volumes
        keys = ((volume_id, image_id) for volume_id, volume in volumes.items() for image_id in volume.images)

        def row_of(key: Key) -> ImageDetail:
            volume = volumes[key[0]]
            return image_detail(volume, volume.images[key[1]])

        def of_key(field_of: Callable[[ImageTruth], V]) -> Callable[[Key], V]:
            return lambda key: field_of(volumes[key[0]].images[key[1]])

        at_hand = {name: of_key(field_of) for name, field_of in AT_HAND.items()}
        return await paged(request, ImageDetail, Rows(keys, ("volume_id", "image_id"), row_of, at_hand))

    @get("/{image_storage_id:str}/volumes/{volume_id:str}/images/{image_id:path}", responses=FAILURES)
    async def get_image(
        self,
        request: Asked,
        image_storage_id: FromPath[str],
        volume_id: FromPath[str],
        image_id: FromPath[str],
    ) -> Response[ImageDetail]:
        """All that is known of one image or clone. Its id may hold slashes: percent-encode it whole."""
        no_parameters(request)
        volume = _volume(request, image_storage_id, volume_id)
        # From the path as it came: the router takes it for a file's path, and tidies it.
        image_id = unquote(request.scope["raw_path"].split(b"/", 6)[6].decode("ascii"))
        if image_id not in volume.images:
            # With 20,000 names to compare with, not on the event loop.
            raise await asyncio.to_thread(NoSuchObject, "image", image_id, tuple(volume.images))
        return response(answers.made(answers.encode(image_detail(volume, volume.images[image_id]))))

    @get("/{image_storage_id:str}/disks", responses=FAILURES, operation_class=list_of(DiskDetail))
    async def list_disks(self, request: Asked, image_storage_id: FromPath[str]) -> Response[list[DiskDetail]]:
        """Every disk of every host of an image storage, and why it is usable or not."""
        disks = {(disk.host_id, disk.device): disk for disk in _storage(request, image_storage_id).disks}
        rows = Rows(disks, ("host_id", "device"), lambda key: disks[key[0], key[1]])
        return await paged(request, DiskDetail, rows)


class ManagerItself(Controller):
    """What is known of the manager."""

    path = "/"
    tags = ("Manager",)

    @get("/healthz", responses={503: _STARTING})
    async def get_health(self, request: Asked) -> Response[ManagerResult]:
        """Whether the manager has looked and can answer."""
        no_parameters(request)
        ready(request)
        return response(answers.made(answers.encode(ManagerResult())))

    @get("/managerinfo")
    async def get_manager_info(self, request: Asked) -> Response[ManagerInfo]:
        """Which manager this is, and what it can do."""
        no_parameters(request)
        major, minor, release = __version__.split(".", 2)
        info = ManagerInfo(
            version=ManagerVersion(major=major, minor=minor, release=release),
            manager_id=request.app.state.manager_id,
            capabilities=CAPABILITIES,
        )
        return response(answers.made(answers.encode(info)))


def ready(request: Asked) -> Manager:
    """The manager.

    Raises:
        NotKnown: it has not looked at everything yet.
    """
    manager: Manager = request.app.state.manager
    if not manager.ready:
        raise NotKnown("The manager has just started and is still looking; ask again in a few seconds.")
    return manager


def _storage(request: Asked, image_storage_id: str) -> StorageTruth:
    storages = ready(request).truth().storages
    if image_storage_id not in storages:
        raise NoSuchObject("image storage", image_storage_id, tuple(storages))
    return storages[image_storage_id]


def _volume(request: Asked, image_storage_id: str, volume_id: str) -> VolumeTruth:
    volumes = _storage(request, image_storage_id).volumes
    if volume_id not in volumes:
        raise NoSuchObject("volume", volume_id, tuple(volumes))
    return volumes[volume_id]


def no_parameters(request: Asked) -> None:
    """Raises UsageError when the request has a query."""
    if parameters(request.scope["query_string"]):
        raise UsageError("This route takes no parameters; leave out the ? and what follows.")


def response(answer: answers.Answer) -> Response[Any]:
    """An answer, as Litestar sends it."""
    headers = {name.decode(): value.decode("latin-1") for name, value in answer.headers}
    return Response(answer.body, status_code=answer.status, headers=headers, media_type="application/json")


def _prepared(request: Asked, published: Published) -> Response[Any]:
    accept_encoding, if_none_match = (
        ",".join(request.headers.getall(name, [])).encode("latin-1") or None
        for name in ("accept-encoding", "if-none-match")
    )
    return response(answers.document(published, accept_encoding, if_none_match))


async def paged(request: Asked, row: type[Struct], rows: Rows, fields: tuple[str, ...] = ()) -> Response[Any]:
    """The page of rows that the request's query asks for. `fields`: those of a row where it names none."""
    query_string = request.scope["query_string"]
    asked = query(query_string, row, fields)

    def made() -> tuple[bytes, str]:
        found = page(rows, asked, query_string)
        return answers.encode(found.rows), found.next_query

    body, next_query = await asyncio.to_thread(made)
    if not next_query:
        return response(answers.made(body))
    link = f'<{request.scope["raw_path"].decode("ascii")}?{next_query}>; rel="next"'
    return response(answers.made(body, (b"link", link.encode("ascii"))))
