"""A TCP proxy that drops every connection when told to, as a network between a user and a cluster does."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class DroppingProxy:
    """Listens on a port of 127.0.0.1 and passes on to another; left as a context, it is gone."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self.num_connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """What to connect to, http://HOST:PORT."""
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def drop(self) -> None:
        """Cut every connection off, in the middle of whatever it carries."""
        with self._lock:
            doomed, self._open = self._open, []
        for one in doomed:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        self.drop()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._server.accept()
                there = socket.create_connection(("127.0.0.1", self._target))
                with self._lock:
                    self._open += [here, there]
                    self.num_connections += 1
                for source, target in ((here, there), (there, here)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
