"""The socket that the HTTP API listens on; several processes of one user can share a port."""

from __future__ import annotations

import socket

#: Connections that may wait to be accepted.
BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, whose port other processes of the same user may listen on as well: then the kernel
    gives each new connection to one of them. Raises `OSError` where somebody else has the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
