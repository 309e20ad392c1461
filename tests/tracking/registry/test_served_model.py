"""A registered model on a real server: served by MLflow, with artifacts behind the server, and on an older server."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from cluster.local.mlflow_server import MLflowServer
from cluster.local.ports import free_port
from lkca_search.records.model_description import model_folder
from lkca_search.training.images import DataDirs
from lkca_search.training.testing import open_test_images
from tests.support.models import DATA, train_model
from tests.support.tracking.confirmed import make_confirmed, read_registry, sync, write_search
from tests.support.tracking.servers import proxy_of

pytestmark = pytest.mark.slow

RESULTS = make_confirmed(draws=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLflowServer]:
    with MLflowServer(tmp_path_factory.mktemp("server")) as server:
        yield server


def request(url: str, body: bytes | None = None) -> bytes:
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as answer:
        content = answer.read()
    assert isinstance(content, bytes)
    return content


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            request(url)
            return
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_mlflow_serves_a_registered_model_with_the_probabilities_of_its_test(
    server: MLflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    record, data_dirs = RESULTS.replicates[0], DataDirs(cache=tmp_path / "datasets", data_dir=None)
    folder = write_search(tmp_path, RESULTS, keep=[record.trial_id])
    _, _, tested = train_model(model_folder(folder, record), data_dirs)
    assert sync(folder).fault is None
    logged, version = read_registry(server.uri).find(record.trial_id)
    assert version.source == logged.artifact_location
    assert logged.artifact_location.startswith("mlflow-artifacts:/")

    address = f"http://127.0.0.1:{free_port()}"
    options = ["-m", "models:/made@champion", "--env-manager", "local", "-p", address.rpartition(":")[2]]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "models", "serve", *options],
        # MLflow starts the program `uvicorn`, which is beside the interpreter.
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(f"{address}/ping", process)
        images = open_test_images(DATA, data_dirs)
        body = json.dumps({"inputs": images.pixels.tolist()}).encode()
        answer = np.array(json.loads(request(f"{address}/invocations", body))["predictions"])
    finally:
        with suppress(ProcessLookupError):  # it has ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert (answer.argmax(axis=1) == tested.predicted).all()
    assert np.allclose(answer, tested.probabilities, atol=1e-3)  # stored as float16; the server has other threads


def test_an_older_server_gets_all_runs_and_a_line_per_part_that_it_lacks(
    server: MLflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_search(tmp_path, RESULTS, name="older")
    with proxy_of(server.uri) as proxy:
        proxy.lacks = lambda path: path.startswith("logged-models") or path == "runs/log-inputs"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
        for _ in range(2):
            lines: list[str] = []
            result = sync(folder, lines.append)
            assert (result.fault, result.num_missing) == (None, 0)
            assert [line for line in lines if "no model is registered" in line] == lines[-1:]
    assert not [each for each in read_registry(server.uri).registered if each.name == "older"]
