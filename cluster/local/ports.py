"""Ports for servers of this machine's own."""

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """A port of the loopback that a server which is down for a while does not lose.

    The system and Ray hand out none of this range by themselves.
    """
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as candidate, suppress(OSError):
            candidate.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free between 20000 and 32000")
