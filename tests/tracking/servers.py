"""A real MLflow server to be started and killed at will, and a proxy before it that is slow, hangs or loses answers."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server:
    """An MLflow server over one SQLite database, to be started and killed at will."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._process is not None:
            return
        options = {
            "backend-store-uri": f"sqlite:///{self._folder / 'server.db'}",
            "artifacts-destination": str(self._folder / "artifacts"),
            "host": "127.0.0.1",
            "port": str(self._port),
            "workers": "1",
        }
        environment = {
            **os.environ,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *(f"--{name}={value}" for name, value in options.items())],
                env=environment,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 90
        while not self._is_up():
            assert time.monotonic() < deadline, (self._folder / "server.log").read_text()[-2000:]
            time.sleep(0.1)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                return True
        except OSError:
            return False


def free_port() -> int:
    """A port that a server which is down does not lose: the system and Ray hand out none of its range by themselves."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as candidate, suppress(OSError):
            candidate.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


class Proxy:
    """What stands before a server, and what it does to the calls that come by. All may be changed at any time."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.uri = ""
        self.seconds = 0.0
        """How long every call is held up."""
        self.hold: Callable[[str, int], float] = lambda path, number: 0.0
        """How long a certain call is held up besides: path, and which call of that path it is, from 1."""
        self.loses: Callable[[str, int], bool] = lambda path, number: False
        """Whether the answer to a call is lost, after it was carried out."""
        self.is_open = threading.Event()
        """Cleared, it takes calls and neither passes them on nor answers."""
        self.is_open.set()
        self.authorization: str | None = None
        """The header without which a call is refused."""
        self.calls: Counter[str] = Counter()
        """How many calls of each path came."""


@contextmanager
def proxy_of(target: str) -> Iterator[Proxy]:
    """Stand before a server."""
    proxy = Proxy(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0].partition("/mlflow/")[2]
            proxy.calls[path] += 1
            number = proxy.calls[path]
            if proxy.authorization not in (None, self.headers.get("Authorization")):
                self.answer(401, b"who are you?")
                return
            time.sleep(proxy.seconds + proxy.hold(path, number))
            proxy.is_open.wait()
            headers = {name: value for name, value in self.headers.items() if name not in ("Host", "Authorization")}
            request = urllib.request.Request(f"{proxy.target}{self.path}", body, headers, method=self.command)
            try:
                with urllib.request.urlopen(request) as answer:
                    status, content = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    status, content = error.code, error.read()
            except OSError:  # the server is not there
                self.close_connection = True
                return
            if proxy.loses(path, number):
                self.close_connection = True
                return
            self.answer(status, content)

        def answer(self, status: int, content: bytes) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:  # the client waits no longer
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    class Listener(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing of clients that went away."""

    with Listener(("127.0.0.1", 0), Handler) as listener:
        threading.Thread(target=listener.serve_forever).start()
        proxy.uri = f"http://127.0.0.1:{listener.server_port}"
        try:
            yield proxy
        finally:
            proxy.is_open.set()
            listener.shutdown()
