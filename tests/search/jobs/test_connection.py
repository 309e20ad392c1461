"""Tests of the connection to a Ray cluster, against a server that only reports its version."""

import http.client
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from lkca_search.errors import SearchError
from lkca_search.search.jobs.access import Access
from lkca_search.search.jobs.connection import connect

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, *(name.upper() for name in PROXIES), "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


class _Dashboard(BaseHTTPRequestHandler):
    login: str | None = None

    def do_GET(self) -> None:
        if self.login not in (None, self.headers.get("Authorization")):
            self.answer("text/html", b"<html>Please log in</html>")
            return
        body = json.dumps({"version": "4", "ray_version": "2.60.0", "ray_commit": "none"}).encode()
        self.answer("application/json", body)

    def answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


class _Guarded(_Dashboard):
    login = "Bearer secret"


class _Proxy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(http.client.BAD_GATEWAY)

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext | None = None) -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def test_a_ray_without_its_private_module_for_tokens_still_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray._private.authentication.authentication_token_setup", None)
    with serving(_Dashboard) as port:
        assert connect(f"http://127.0.0.1:{port}") is not None


def test_a_dashboard_behind_a_login_is_reached_with_headers_and_names_the_variable_without() -> None:
    with serving(_Guarded) as port:
        access = Access.parse('{"Authorization": "Bearer secret"}', None, {})
        assert connect(f"http://127.0.0.1:{port}", access).get_version() == "4"
        with pytest.raises(SearchError, match=r"is not the dashboard of a Ray cluster; .* set RAY_JOB_HEADERS"):
            connect(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("text", ["secret", "[]", '{"a": 1}', '"secret"'])
def test_malformed_headers_are_refused_and_never_printed(text: str) -> None:
    with pytest.raises(SearchError, match="RAY_JOB_HEADERS or --headers must be a JSON object with texts") as caught:
        Access.parse(text, None, {})
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(Access(headers={"Authorization": "secret"}))


def test_a_private_certificate_needs_its_authority_or_no_check(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(_Dashboard, context) as port:
        address = f"https://127.0.0.1:{port}"
        for verify, environment in (
            (str(certificate), {}),
            ("false", {}),
            (None, {"REQUESTS_CA_BUNDLE": str(certificate)}),
        ):
            assert connect(address, Access.parse(None, verify, environment)).get_version() == "4"
        with pytest.raises(SearchError, match=r"CERTIFICATE_VERIFY_FAILED.*by --verify FILE, or --verify false"):
            connect(address)
    for verify in ("nowhere.pem", str(key)):
        with pytest.raises(SearchError, match=r"--verify must be .*certificates"):
            Access.parse(None, verify, {})


def test_a_proxy_that_catches_the_request_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(_Dashboard) as port, serving(_Proxy) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@127.0.0.1:{proxy}")
        with pytest.raises(
            SearchError, match=f"HTTP_PROXY sends the request to http://127.0.0.1:{proxy}: to"
        ) as caught:
            connect(f"http://127.0.0.1:{port}")
        assert "secret" not in str(caught.value)
        assert str(caught.value).endswith("set NO_PROXY=127.0.0.1")
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        with pytest.raises(SearchError, match=r"HTTP_PROXY sends the request to http://127.0.0.1:1: to avoid it"):
            connect(f"http://127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert connect(f"http://127.0.0.1:{port}").get_version() == "4"


def test_without_a_proxy_no_variable_is_named() -> None:
    with pytest.raises(SearchError, match="Connection refused") as caught:
        connect("http://127.0.0.1:1")
    assert "PROXY" not in str(caught.value)
