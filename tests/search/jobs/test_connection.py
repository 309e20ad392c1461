"""Tests of the connection to a Ray cluster, against a server that only reports its version."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from lkca_search.search.jobs.connection import connect


class _Dashboard(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"version": "4", "ray_version": "2.60.0", "ray_commit": "none"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


def test_a_ray_without_its_private_module_for_tokens_still_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray._private.authentication.authentication_token_setup", None)
    with HTTPServer(("127.0.0.1", 0), _Dashboard) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            assert connect(f"http://127.0.0.1:{server.server_port}") is not None
        finally:
            server.shutdown()
