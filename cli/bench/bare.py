"""One of the bare processes of ``floor_ms``: answers each frame after the synced write of CONSENSUS §3.

Run by path with ``python -I``; standard library only. It connects to the port in its first argument, appends to the
file in its second, and ends with its connection.

    question  bytes to write and sync (4, big-endian) ‖ size of the answer (4) ‖ size of what follows (4) ‖ filling
"""

import os
import socket
import struct
import sys

HEAD = struct.Struct(">III")


def receive(link: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes; fewer at the end of the connection."""
    parts = bytearray()
    while len(parts) < size:
        part = link.recv(size - len(parts))
        if not part:
            break
        parts += part
    return bytes(parts)


def serve(link: socket.socket, descriptor: int) -> None:
    """Answer until the connection ends."""
    while len(head := receive(link, HEAD.size)) == HEAD.size:
        written, answered, size = HEAD.unpack(head)
        receive(link, size)
        if written:
            os.write(descriptor, bytes(written))
            os.fsync(descriptor)
        link.sendall(bytes(answered))


def main(port: int, path: str) -> None:
    """Serve one connection."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        serve(link, descriptor)
    os.close(descriptor)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
