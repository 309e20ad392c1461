"""Environment and command of a job, and mistakes that are reported before the first request to the cluster."""

import json
import os
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from cluster.local.ports import free_port
from lkca_search.errors import SearchError
from lkca_search.search.jobs.client import SearchJob
from lkca_search.search.jobs.submission import Submission, build_submission
from tests.support.processes import Command
from tests.support.search.command_line import SPACE

WITH_SH = Path(__file__).parents[3] / "cluster" / "local" / "with.sh"


def build(
    *variables: str,
    home: str | None = "/shared/runs",
    overrides: Sequence[str] = (),
    ledger: str | None = None,
    data_dir: str | None = None,
    **local: str,
) -> Submission:
    options = {"LKCA_SEARCH_HOME": home, "LKCA_SEARCH_LEDGER": ledger, "LKCA_DATA_DIR": data_dir}
    return build_submission(
        name="toy",
        space="toy space.yaml",
        overrides=overrides,
        options=options,
        variables=variables,
        local_environment=local,
    )


@pytest.fixture
def submit(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return a function that runs `lkca-search submit` in a folder with a space file, without variables of ours."""
    for name in list(os.environ):
        if name.startswith(("LKCA_", "MLFLOW_", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")):
            monkeypatch.delenv(name)
    (tmp_path / "toy.yaml").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    return partial(command, "submit")


def test_the_entry_point_runs_the_clusters_python_and_passes_arguments_unchanged() -> None:
    overrides = ["parameters.depth={int: [1, 3]}", "~limits", "a.b='$HOME'"]
    words = shlex.split(build(overrides=overrides).entry_point)
    assert words[:5] == ["exec", "${LKCA_PYTHON:-python}", "-m", "lkca_search", "run"]
    assert words[5:] == ["./toy space.yaml", *overrides, "--name", "toy", "--address", "auto"]


@pytest.mark.parametrize("home", ["/shared/runs", "s3://bucket/runs", "gs://bucket", "file:///shared/runs"])
def test_a_home_is_an_absolute_path_or_a_url(home: str) -> None:
    assert build(home=home).home == home
    assert build(home=None, LKCA_SEARCH_HOME=home).home == home
    assert build(f"LKCA_SEARCH_HOME={home}", home=None, LKCA_SEARCH_HOME="/another").home == home


@pytest.mark.parametrize(
    "home", [None, "", "runs", "./runs", "~/runs", "http://host/runs", "s3:///runs", "file://runs"]
)
def test_any_other_home_is_an_error(home: str | None) -> None:
    with pytest.raises(SearchError, match="the home must be an absolute path"):
        build(home=home)


def test_a_job_inherits_only_variables_that_concern_the_cluster() -> None:
    local = {
        "LKCA_DATA_DIR": "/mine",
        "LKCA_SEARCH_CACHE": "/mine",
        "AWS_SECRET_ACCESS_KEY": "x",
        "MLFLOW_TRACKING_URI": "https://mlflow.example.org",
        "MLFLOW_EXPERIMENT_NAME": "scarcity",
        "LKCA_SEARCH_LEDGER": "postgresql://me@db.example.org/lkca",
        "LKCA_SEARCH_ALLOW": "steps,cells",
    }
    submission = build("LKCA_SEARCH_CACHE=/scratch", data_dir="/data", **local)
    variables = dict(submission.environment)
    assert json.loads(variables.pop("LKCA_SUBMITTED_WITH"))["python"]
    variables.pop("LKCA_GIT_COMMIT", None)
    assert variables == {
        "LKCA_DATA_DIR": "/data",
        "LKCA_SEARCH_ALLOW": "steps,cells",
        "LKCA_SEARCH_CACHE": "/scratch",
        "LKCA_SEARCH_HOME": "/shared/runs",
        "LKCA_SEARCH_LEDGER": "postgresql://me@db.example.org/lkca",
        "MLFLOW_EXPERIMENT_NAME": "scarcity",
        "MLFLOW_TRACKING_URI": "https://mlflow.example.org",
        "RAY_JOB_STOP_WAIT_TIME_S": "30",
    }
    assert submission.ledger == "postgresql://me@db.example.org/lkca"


UNREACHABLE = [
    *("sqlite:////mine/mlflow.db", "/mine/mlruns", "file:///mine"),
    *("http://localhost:5000", "http://127.0.0.1:5000", "http://[::1]:5000", "http://0.0.0.0:5000"),
    "postgresql+psycopg://me@localhost/mlflow",
]


@pytest.mark.parametrize("uri", UNREACHABLE)
def test_a_tracking_server_that_only_the_submitter_can_reach_must_be_given_explicitly(uri: str) -> None:
    with pytest.raises(
        SearchError, match=r"give --env MLFLOW_TRACKING_URI=\.\.\., with a URL that the cluster's nodes can reach"
    ):
        build(MLFLOW_TRACKING_URI=uri)
    explicit = build(f"MLFLOW_TRACKING_URI={uri}", MLFLOW_TRACKING_URI=uri)
    assert explicit.environment["MLFLOW_TRACKING_URI"] == uri


def test_a_ledger_on_the_submitters_machine_must_be_given_explicitly() -> None:
    with pytest.raises(SearchError, match="must be reachable from the cluster, got host localhost"):
        build(LKCA_SEARCH_LEDGER="postgresql://me@localhost/lkca")
    assert build(ledger="postgresql://me@localhost/lkca").ledger == "postgresql://me@localhost/lkca"


@pytest.mark.parametrize(
    "variables",
    [
        ["PGPASSWORD=hunter2"],
        ["AWS_SECRET_ACCESS_KEY=hunter2"],
        ["AWS_ACCESS_KEY_ID=hunter2"],
        ["RAY_AUTH_TOKEN=hunter2"],
        ["mlflow_tracking_password=hunter2"],
        ["LKCA_SEARCH_LEDGER=postgresql://me:hunter2@db/lkca"],
        ["ANYTHING=postgresql://db/lkca?user=me&password=hunter2"],
        ["MLFLOW_TRACKING_URI=https://me:hunter2@mlflow.example.org"],
    ],
)
def test_a_secret_is_an_error_that_does_not_repeat_it(variables: list[str]) -> None:
    with pytest.raises(SearchError, match="put the secret into the environment of the cluster's nodes") as caught:
        build(*variables)
    assert "hunter2" not in str(caught.value)


def test_a_password_in_any_url_is_an_error() -> None:
    url = "postgresql://me:hunter2@db.example.org/lkca"
    for arguments in (
        {"ledger": url},
        {"LKCA_SEARCH_LEDGER": url},
        {"overrides": [f"storage={url}"]},
        {"home": "s3://a:hunter2@b"},
    ):
        with pytest.raises(SearchError, match="a job must not carry a secret") as caught:
            build(**arguments)  # type: ignore[arg-type]
        assert "hunter2" not in str(caught.value)


def test_a_variable_that_names_a_file_with_a_secret_is_allowed() -> None:
    variables = ["PGPASSFILE=/etc/pgpass", "AWS_SHARED_CREDENTIALS_FILE=/etc/aws", "TOKENIZERS_PARALLELISM=1"]
    assert build(*variables).environment["AWS_SHARED_CREDENTIALS_FILE"] == "/etc/aws"


def test_a_variable_that_is_given_twice_or_is_no_pair_is_an_error() -> None:
    for variables, message in (
        (["LKCA_SEARCH_HOME=/other"], "must be given once"),
        (["A=1", "A=2"], "must be given once"),
        (["A"], "--env must be NAME=VALUE"),
        (["1A=2"], "--env must be NAME=VALUE"),
        (["LKCA_DATA_DIR=data"], "must be an absolute path"),
    ):
        with pytest.raises(SearchError, match=message):
            build(*variables)


MISTAKES = [
    (["toy.yaml", "search.trials_per_cell=0"], "search.trials_per_cell"),
    (["toy.yaml", "--name", "a name"], "the name of a search"),
    (["missing.yaml"], "cannot read the space file"),
    (["toy.yaml", "--home", "runs"], "the home must be an absolute path"),
    (["toy.yaml", "--env", "MY_TOKEN=x"], "MY_TOKEN looks like"),
    (["toy.yaml", "--include", "missing"], "must exist, got"),
    (["toy.yaml", "--max-size", "0.1"], "must not exceed 0.1 MB"),
    (["toy.yaml", "--follow", "toy"], "a space file, or --follow"),
    ([], "a space file, or --follow"),
    (["--follow", "toy", "--no-wait"], "--follow submits nothing"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_a_mistake_is_reported_before_the_first_request_to_the_cluster(
    submit: Command, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LKCA_SEARCH_HOME", "/shared")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        answer = submit(*arguments, "--address", address)
        assert (answer.code, answer.out) == (2, "")
        assert message in answer.err
        assert "Traceback" not in answer.err
        with pytest.raises(BlockingIOError):
            listener.accept()


@contextmanager
def serving(status: int, body: str) -> Iterator[str]:
    """Yield the address of a server that sends the same response to every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def submit_error(submit: Command, address: str) -> str:
    answer = submit("toy.yaml", "--home", "/shared", "--address", address)
    assert (answer.code, answer.out) == (2, "")
    assert "Traceback" not in answer.err
    return answer.err


def test_an_invalid_address_and_one_without_a_server_are_errors(submit: Command) -> None:
    port = free_port()
    assert f"no cluster responds at http://127.0.0.1:{port}" in submit_error(submit, f"http://127.0.0.1:{port}")
    for address in ("head:8265", "ray://head:10001", "http://", "http://head:port", "auto"):
        assert f"usually http://HEAD:8265, got {address!r}" in submit_error(submit, address)
    answer = submit("toy.yaml", "--home", "/shared")
    assert answer.code == 2
    assert "--address is required: use --address http://HEAD:8265, or set RAY_API_SERVER_ADDRESS" in answer.err


def test_a_server_that_is_not_ray_or_has_another_version_of_ray_is_an_error(submit: Command) -> None:
    with serving(200, "<html>hello</html>") as address:
        assert f"the server at {address} is not the dashboard of a Ray cluster" in submit_error(submit, address)
    with serving(404, "nothing here") as address:
        assert f"a request to Ray's Jobs API at {address} failed" in submit_error(submit, address)
    with serving(200, json.dumps({"version": "4", "ray_version": "2.59.0", "ray_commit": "x"})) as address:
        message = submit_error(submit, address)
        assert "Ray must have the same version here and on the cluster: " in message
        assert f"2.59.0 on the cluster at {address}" in message


def test_every_command_on_the_test_cluster_but_submit_has_its_mlflow_server(tmp_path: Path) -> None:
    (tmp_path / "environment").write_text("MLFLOW_TRACKING_URI=http://127.0.0.1:1\nLKCA_SEARCH_HOME=/home\n")
    program = tmp_path / "lkca-search"
    program.write_text('#!/bin/sh\necho "${MLFLOW_TRACKING_URI:-none} $LKCA_SEARCH_HOME"\n')
    program.chmod(0o755)
    environment = {**os.environ, "LKCA_REHEARSAL": str(tmp_path), "MLFLOW_TRACKING_URI": "http://elsewhere"}
    for command, server in (("report", "http://127.0.0.1:1"), ("sync", "http://127.0.0.1:1"), ("submit", "none")):
        done = subprocess.run(
            [WITH_SH, program, command], capture_output=True, text=True, check=True, timeout=20, env=environment
        )
        assert done.stdout == f"{server} /home\n"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (None, ": Job supervisor actor died"),
        (
            1,
            " with exit code 1: the search ended early for the reason above, such as `stop` or a limit",
        ),
        (2, " with exit code 2: correct the error above"),
        (-9, ": its driver was killed by SIGKILL; finished trials are kept, and the same `submit` resumes"),
        (137, ": its driver was killed by SIGKILL; finished trials are kept"),
        (143, ": its driver was killed by SIGTERM; finished trials are kept"),
        (127, " with exit code 127, which is none of `run`: its driver did not start, or crashed"),
    ],
)
def test_a_failed_job_states_what_its_exit_code_means_and_what_to_do(code: int | None, reason: str) -> None:
    job = SearchJob(
        search="made",
        job_id="made-1",
        address="http://head:8265",
        home="/home",
        ledger=None,
        status="FAILED",
        exit_code=code,
        message="Job supervisor actor died",
    )
    assert job.reason.startswith(reason)
