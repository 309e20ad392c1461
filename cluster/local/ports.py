"""Free ports for servers on this machine."""

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """Return a free port of 127.0.0.1.

    A server may stop and start again at this port: neither the system nor Ray assigns ports of this range.
    """
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as candidate, suppress(OSError):
            candidate.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port among 100 tried between 20000 and 32000")
