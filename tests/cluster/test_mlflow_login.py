"""MLflow server of cluster/mlflow, with a real PostgreSQL and a real object store."""

import base64
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import boto3
import psutil
import psycopg
import pytest
from mlflow import MlflowClient

from cluster.local.ports import free_port
from tests.support.cluster.guarded_postgres import guarded_postgres
from tests.support.object_store import BUCKET, running_object_store
from tests.support.postgres import Postgres
from tests.support.processes import WAIT_SECONDS
from tests.support.search.command_line import SearchCommands

START = Path(__file__).parents[2] / "cluster" / "mlflow" / "start.sh"
ADMIN = ("ada", "admin-s3cret-pass")
DRIVER = ("driver", "driver-s3cret-pass")
SECRETS = (ADMIN[1], DRIVER[1], "database-s3cret-pass", "flask-s3cret-key", "rotated-s3cret-pass")
ONE_CELL = ["factors.family=[lkca]", "factors.data_fraction=[0.2]", "~parameters.num_heads"]


class LoginServer:
    """Server of the start script, with its own temporary folder."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.uri = f"http://127.0.0.1:{environment['MLFLOW_PORT']}"
        self.log = folder / "server.log"
        self._environment = {**os.environ, "TMPDIR": str(folder / "tmp"), **environment}
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "tmp").mkdir(parents=True)

    def start(self, **changes: str) -> None:
        """Start the server and wait until it responds. Assert that no command line contains a secret."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["bash", str(START)], env={**self._environment, **changes}, cwd=self.folder, stdout=log, stderr=log
            )
        deadline = time.monotonic() + WAIT_SECONDS
        while self.status_of("/health") != 200:
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            assert_no_secret("".join(command_lines()))
            time.sleep(0.3)

    def stop(self) -> None:
        """Stop the server like an init system. Assert that all its processes end."""
        if self._process is None:
            return
        started = self.processes()[1:]
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=60)
        code = self._process.poll()
        _, left = psutil.wait_procs(started, timeout=20)
        alive = [process for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
        for process in (*alive, self._process):
            process.kill()
        self._process.wait()
        self._process = None
        assert (code is None, alive) == (False, [])

    def processes(self) -> list[psutil.Process]:
        """Return the script's process and its children."""
        assert self._process is not None
        if self._process.poll() is not None:
            return []
        script = psutil.Process(self._process.pid)
        return [script, *script.children(recursive=True)]

    def status_of(self, path: str, login: tuple[str, str] | None = None, body: bytes | None = None) -> int | None:
        """Return the HTTP status of a request; None without a response."""
        request = urllib.request.Request(f"{self.uri}{path}", body, {"Content-Type": "application/json"})
        if login is not None:
            request.add_header("Authorization", f"Basic {base64.b64encode(':'.join(login).encode()).decode()}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return None


def command_lines() -> Iterator[str]:
    for process in psutil.process_iter():
        try:
            yield "\0".join(process.cmdline())
        except psutil.Error:
            continue  # it has ended


def assert_no_secret(text: str) -> None:
    assert not [secret for secret in SECRETS if secret in text]


def make_database(server: Postgres) -> None:
    """Create a database whose owner, mlflow, needs a password."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE mlflow LOGIN PASSWORD 'database-s3cret-pass'")
        connection.execute("CREATE DATABASE mlflow OWNER mlflow")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Start PostgreSQL and an object store, and yield the variables of the start script for them."""
    password_file = tmp_path_factory.mktemp("secret") / "pgpass"
    password_file.touch(mode=0o600)
    with (
        guarded_postgres() as postgres,
        pytest.MonkeyPatch.context() as patch,
        running_object_store(patch) as bucket,
    ):
        make_database(postgres)
        password_file.write_text("*:*:*:mlflow:database-s3cret-pass\n")
        endpoint = bucket.split("endpoint_override=")[1].split("&")[0]
        yield {
            "LKCA_PYTHON": sys.executable,
            "MLFLOW_BACKEND_STORE_URI": f"postgresql://mlflow@127.0.0.1:{postgres.port}/mlflow",
            "PGPASSFILE": str(password_file),
            "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKET}/mlflow",
            "MLFLOW_S3_ENDPOINT_URL": f"http://{endpoint}",
            "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN[0],
            "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1],
            "MLFLOW_TRACKING_USERNAME": DRIVER[0],
            "MLFLOW_TRACKING_PASSWORD": DRIVER[1],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "flask-s3cret-key",
            "MLFLOW_PORT": str(free_port()),
        }


@pytest.fixture(scope="module")
def server(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginServer]:
    server = LoginServer(tmp_path_factory.mktemp("mlflow"), environment)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.mark.slow
def test_requests_need_a_login_and_a_driver_may_create_neither_users_nor_runs_of_other_users(
    server: LoginServer,
) -> None:
    path = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
    logins = {None: 401, (ADMIN[0], "wrong-s3cret"): 401, ("nobody", DRIVER[1]): 401, DRIVER: 200, ADMIN: 200}
    assert {login: server.status_of(path, login) for login in logins} == logins
    user = b'{"username": "new", "password": "new-s3cret-pass"}'
    run = b'{"experiment_id": "0"}'  # an experiment without an owner
    for login, status in ((None, 401), (DRIVER, 403), (ADMIN, 200)):
        assert server.status_of("/api/2.0/mlflow/users/create", login, user) == status
        assert server.status_of("/api/2.0/mlflow/runs/create", login, run) == status


@pytest.mark.slow
def test_the_server_listens_on_the_loopback_interface_and_rejects_other_host_names(server: LoginServer) -> None:
    listening = {
        connection.laddr.ip
        for process in server.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    request = urllib.request.Request(f"{server.uri}/", headers={"Host": "attacker.example"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    refused.value.close()
    assert refused.value.code == 403


@pytest.mark.slow
def test_a_search_with_a_login_sends_runs_and_artifacts_and_exposes_no_secret(
    server: LoginServer, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", DRIVER[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", DRIVER[1])
    searching = SearchCommands(tmp_path / "home")
    running = searching.start_run(*ONE_CELL)
    while running.process.poll() is None:
        assert_no_secret("".join(command_lines()))
        time.sleep(0.2)
    code, printed = running.wait()
    assert code == 0, printed
    assert "MLflow lacks" not in printed

    client = MlflowClient(tracking_uri=server.uri)
    experiment = client.get_experiment_by_name("lkca-search")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.data.tags["kind"] == "search"]
    trials = [run for run in runs if run.data.tags["kind"] == "trial"]
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {parent.info.run_id}
    ids = sorted(record.trial_id for record in searching.records())
    assert len(ids) == 2
    assert sorted(run.data.tags["lkca.trial_id"] for run in trials) == ids
    assert {run.info.status for run in runs} == {"FINISHED"}

    provenance = {item.path for item in client.list_artifacts(parent.info.run_id, "provenance")}
    assert provenance  # one file, and one more if the checkout differs from its commit
    artifacts = {item.path for item in client.list_artifacts(parent.info.run_id) if not item.is_dir} | provenance
    assert "space.yaml" in artifacts
    store = boto3.client("s3", endpoint_url=environment["MLFLOW_S3_ENDPOINT_URL"])
    keys = [item["Key"] for item in store.list_objects_v2(Bucket=BUCKET, Prefix="mlflow/")["Contents"]]
    assert {key.split("/artifacts/")[1] for key in keys if parent.info.run_id in key} == artifacts

    assert_no_secret(printed)
    assert_no_secret(server.log.read_text())
    for process in server.processes()[1:]:
        assert not {ADMIN[1], DRIVER[1]} & set(process.environ().values())
    (config,) = (server.folder / "tmp").rglob("*.ini")
    assert (config.stat().st_mode & 0o777, config.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    for file in (path for root in (server.folder, tmp_path) for path in root.rglob("*") if path.is_file()):
        assert_no_secret(file.read_bytes().decode(errors="replace"))


@pytest.mark.slow
def test_a_stopped_server_leaves_no_files_and_a_restart_changes_the_password(server: LoginServer) -> None:
    assert len(server.processes()) > 3
    server.stop()
    assert list((server.folder / "tmp").iterdir()) == []
    server.start(MLFLOW_TRACKING_PASSWORD="rotated-s3cret-pass")
    path = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
    assert server.status_of(path, DRIVER) == 401
    assert server.status_of(path, (DRIVER[0], "rotated-s3cret-pass")) == 200


COMPLETE = {
    "MLFLOW_BACKEND_STORE_URI": "postgresql://mlflow@127.0.0.1/mlflow",
    "MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket/mlflow",
    "MLFLOW_AUTH_ADMIN_USERNAME": "ada",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "admin-s3cret-pass",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "flask-s3cret-key",
}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *((name, "", f"{name} is not set") for name in COMPLETE),
        ("MLFLOW_BACKEND_STORE_URI", "postgresql://mlflow:database-s3cret-pass@h/d", "must not contain a password"),
        ("MLFLOW_BACKEND_STORE_URI", "postgresql://h/d?password=database-s3cret-pass", "must not contain a password"),
        ("MLFLOW_BACKEND_STORE_URI", "sqlite:///mlflow.db", "must be postgresql://USER@HOST/DATABASE"),
        ("MLFLOW_ARTIFACTS_DESTINATION", "./artifacts", "must be s3://BUCKET/PATH"),
    ],
)
def test_a_missing_secret_and_a_secret_in_a_url_are_errors(name: str, value: str, message: str) -> None:
    environment = {"PATH": os.environ["PATH"], "LKCA_PYTHON": "false", **COMPLETE, name: value}
    done = subprocess.run(["bash", str(START)], env=environment, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert message in done.stderr
    assert_no_secret(done.stdout + done.stderr)
