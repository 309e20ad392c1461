"""A proxy in front of an MLflow server that delays calls, hangs or loses answers."""

import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Proxy:
    """Faults of a proxy; each may be changed while it runs."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.uri = ""
        self.seconds = 0.0
        """Delay of every call."""
        self.delay: Callable[[str, int], float] = lambda path, number: 0.0
        """Additional delay of a call, from its path and its number among the calls of this path, from 1."""
        self.drops_response: Callable[[str, int], bool] = lambda path, number: False
        """True if the answer to a call is lost after the server has executed it; arguments as for `delay`."""
        self.is_open = threading.Event()
        """While this is cleared, calls are accepted, but neither forwarded nor answered."""
        self.is_open.set()
        self.lacks: Callable[[str], bool] = lambda path: False
        """True if the server has no such path, as a server of an older version."""
        self.authorization: str | None = None
        """Authorization header that every call must carry, or None."""
        self.calls: Counter[str] = Counter()
        """Number of calls per path."""


@contextmanager
def proxy_of(target: str) -> Iterator[Proxy]:
    """Run a proxy in front of a server."""
    proxy = Proxy(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0].partition("/mlflow/")[2]
            proxy.calls[path] += 1
            number = proxy.calls[path]
            if proxy.authorization not in (None, self.headers.get("Authorization")):
                self.answer(401, b"unauthorized")
                return
            if proxy.lacks(path):
                self.answer(404, b"<!doctype html><title>404 Not Found</title>")
                return
            time.sleep(proxy.seconds + proxy.delay(path, number))
            proxy.is_open.wait()
            headers = {name: value for name, value in self.headers.items() if name not in ("Host", "Authorization")}
            request = urllib.request.Request(f"{proxy.target}{self.path}", body, headers, method=self.command)
            try:
                with urllib.request.urlopen(request) as answer:
                    status, content = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    status, content = error.code, error.read()
            except OSError:  # the server is down
                self.close_connection = True
                return
            if proxy.drops_response(path, number):
                self.close_connection = True
                return
            self.answer(status, content)

        def answer(self, status: int, content: bytes) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:  # the client timed out
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward

        def log_message(self, format: str, *arguments: object) -> None:
            """Print nothing."""

    class Listener(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """Ignore clients that disconnected."""

    with Listener(("127.0.0.1", 0), Handler) as listener:
        threading.Thread(target=listener.serve_forever).start()
        proxy.uri = f"http://127.0.0.1:{listener.server_port}"
        try:
            yield proxy
        finally:
            proxy.is_open.set()
            listener.shutdown()
