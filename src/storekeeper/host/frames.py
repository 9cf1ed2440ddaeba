"""Frames: the messages of `wire`, each as MessagePack behind its length in four bytes, big-endian."""

from __future__ import annotations

import socket
import struct
import threading

import msgspec

from storekeeper.host.libc import give_back_memory
from storekeeper.host.wire import FromAgent, FromWorker

LENGTH = struct.Struct(">I")
_LARGE_BYTES = 1 << 20

_encoder = msgspec.msgpack.Encoder()
decode_from_agent = msgspec.msgpack.Decoder(FromAgent).decode
decode_from_worker = msgspec.msgpack.Decoder(FromWorker).decode


def frame(message: FromAgent | FromWorker) -> bytearray:
    """The message's frame."""
    framed = bytearray(LENGTH.size)
    _encoder.encode_into(message, framed, LENGTH.size)
    LENGTH.pack_into(framed, 0, len(framed) - LENGTH.size)
    return framed


class Channel:
    """The worker's end of its socket pair: one thread receives, any may send."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def send(self, message: FromWorker) -> None:
        """Sends a whole message. Raises `OSError` when the agent is gone."""
        framed = frame(message)
        with self._sending:
            self._connection.sendall(framed)
        if len(framed) > _LARGE_BYTES:
            del framed
            give_back_memory()

    def receive(self) -> FromAgent | None:
        """The next message; None when the agent is gone."""
        head = self._exactly(LENGTH.size)
        if head is None:
            return None
        body = self._exactly(LENGTH.unpack(head)[0])
        return None if body is None else decode_from_agent(body)

    def _exactly(self, count: int) -> bytes | None:
        pieces = []
        while count:
            try:
                piece = self._connection.recv(min(count, 1 << 20))
            except ConnectionError:
                return None
            if not piece:
                return None
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)
