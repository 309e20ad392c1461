"""A TCP proxy that can drop all its connections, as an unreliable network does."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class DroppingProxy:
    """Proxy from a free port of 127.0.0.1 to another port; the context manager closes it on exit."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self.num_connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """Address of the proxy, http://HOST:PORT."""
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def drop(self) -> None:
        """Drop every open connection."""
        with self._lock:
            doomed, self._open = self._open, []
        for one in doomed:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def close(self) -> None:
        """Drop every open connection and accept no other."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # otherwise a blocked `accept` accepts one more
        self._server.close()
        self.drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._server.accept()
                there = socket.create_connection(("127.0.0.1", self._target))
                with self._lock:
                    self._open += [here, there]
                    self.num_connections += 1
                for source, target in ((here, there), (there, here)):
                    threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    @staticmethod
    def _forward(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
