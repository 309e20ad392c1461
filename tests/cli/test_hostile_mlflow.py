"""`predict` with a model of an MLflow server that lies: an error with code 2, and no file outside its folder."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests.support.processes import Command

API, ARTIFACTS = "/api/2.0/mlflow/", "/api/2.0/mlflow-artifacts/artifacts"
Lie = dict[str, Any]


@contextmanager
def running_server(
    source: str, listed: list[Lie], content: Callable[[str], bytes | None]
) -> Iterator[tuple[str, list[str]]]:
    """Yield the URL of a server with one registered model, and the paths that were requested.

    Args:
        source: Place of the artifacts of the model.
        listed: Files that the server lists there.
        content: Content of a path.
    """
    requested: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            requested.append(unquote(url.path))
            if url.path == f"{API}registered-models/alias":
                name = parse_qs(url.query)["name"][0]
                self._answer({"model_version": {"name": name, "version": "1", "source": source}})
            elif url.path == ARTIFACTS:
                self._answer({"files": listed})
            elif (found := content(unquote(url.path))) is not None:
                self._send(200, found)
            else:
                self._send(404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "nothing"}')

        def log_message(self, *_: Any) -> None:
            pass

        def _answer(self, value: Lie) -> None:
            self._send(200, json.dumps(value).encode())

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", requested
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def listing(*names: str, size: int = 2) -> list[Lie]:
    return [{"path": name, "is_dir": False, "file_size": size} for name in names]


FILES = ("model.json", "model.safetensors", "predictions.parquet")
PICKLE = b"cos\nsystem\n(S'touch pwned'\ntR."
LIES = {
    "names that lead out": ("mlflow-artifacts:/x", listing(*(f"../../../{name}" for name in FILES)), b"{}"),
    "absolute names": ("mlflow-artifacts:/x", listing(*(f"/tmp/{name}" for name in FILES)), b"{}"),
    "a place that leads out": ("mlflow-artifacts:/../../x", listing(*FILES), b"{}"),
    "an empty description": ("mlflow-artifacts:/x", listing(*FILES), b"{}"),
    "a pickle": ("mlflow-artifacts:/x", listing(*FILES), PICKLE),
    "folders": ("mlflow-artifacts:/x", [{"path": name, "is_dir": True} for name in FILES], b"{}"),
    "huge files": ("mlflow-artifacts:/x", listing(*FILES, size=1 << 40), b"{}"),
    "nothing": ("mlflow-artifacts:/x", [], b""),
    "files of this machine": ("file:///etc", listing(*FILES), b"{}"),
    "itself": ("models:/made@champion", listing(*FILES), b"{}"),
    "a scheme that nobody has": ("evil://x", listing(*FILES), b"{}"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_lies_gets_one_error_and_writes_nothing(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    source, listed, body = LIES[lie]
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "work"))
    with running_server(source, listed, lambda _: body) as (url, requested):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        code, out, err = command("predict", "models:/made@champion", "test")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    if lie == "huge files":
        assert not any(path.endswith("model.safetensors") for path in requested)
