"""What a job may be told; and that every mistake is told before the cluster is spoken to."""

import json
import shlex
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from cluster.local.ports import free_port
from lkca_search.errors import SearchError
from lkca_search.search.jobs.submission import Submission, plan_submission
from tests.support.cluster.submitter import Submitter


def plan(
    *variables: str,
    home: str | None = "/shared/runs",
    overrides: Sequence[str] = (),
    ledger: str | None = None,
    data_dir: str | None = None,
    **outside: str,
) -> Submission:
    options = {"LKCA_SEARCH_HOME": home, "LKCA_SEARCH_LEDGER": ledger, "LKCA_DATA_DIR": data_dir}
    return plan_submission(
        name="toy", space="toy space.yaml", overrides=overrides, options=options, variables=variables, outside=outside
    )


def test_the_entry_point_runs_the_clusters_python_and_every_argument_arrives_as_typed() -> None:
    overrides = ["parameters.depth={int: [1, 3]}", "~limits", "a.b='$HOME'"]
    words = shlex.split(plan(overrides=overrides).entry_point)
    assert words[:5] == ["exec", "${LKCA_PYTHON:-python}", "-m", "lkca_search", "run"]
    assert words[5:] == ["./toy space.yaml", *overrides, "--name", "toy", "--address", "auto"]


@pytest.mark.parametrize("home", ["/shared/runs", "s3://bucket/runs", "gs://bucket", "file:///shared/runs"])
def test_a_home_is_an_absolute_path_or_a_url(home: str) -> None:
    assert plan(home=home).home == home
    assert plan(home=None, LKCA_SEARCH_HOME=home).home == home
    assert plan(f"LKCA_SEARCH_HOME={home}", home=None, LKCA_SEARCH_HOME="/another").home == home


@pytest.mark.parametrize(
    "home", [None, "", "runs", "./runs", "~/runs", "http://host/runs", "s3:///runs", "file://runs"]
)
def test_another_home_and_none_are_refused(home: str | None) -> None:
    with pytest.raises(SearchError, match="a home that outlives its job and that every node sees"):
        plan(home=home)


def test_only_what_is_meant_for_the_cluster_goes_along() -> None:
    outside = {
        "LKCA_DATA_DIR": "/mine",
        "LKCA_SEARCH_CACHE": "/mine",
        "AWS_SECRET_ACCESS_KEY": "x",
        "MLFLOW_TRACKING_URI": "https://mlflow.example.org",
        "MLFLOW_EXPERIMENT_NAME": "scarcity",
        "LKCA_SEARCH_LEDGER": "postgresql://me@db.example.org/lkca",
    }
    submission = plan("LKCA_SEARCH_CACHE=/scratch", data_dir="/data", **outside)
    told = dict(submission.environment)
    assert json.loads(told.pop("LKCA_SUBMITTED_WITH"))["python"]
    told.pop("LKCA_GIT_COMMIT", None)
    assert told == {
        "LKCA_DATA_DIR": "/data",
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
def test_a_tracking_server_that_only_the_submitter_can_reach_is_refused_unless_it_is_meant(uri: str) -> None:
    with pytest.raises(SearchError, match=r"give --env MLFLOW_TRACKING_URI=\.\.\., as the cluster's nodes see it"):
        plan(MLFLOW_TRACKING_URI=uri)
    meant = plan(f"MLFLOW_TRACKING_URI={uri}", MLFLOW_TRACKING_URI=uri)
    assert meant.environment["MLFLOW_TRACKING_URI"] == uri


def test_a_ledger_of_the_submitters_machine_is_refused_unless_it_is_meant() -> None:
    with pytest.raises(SearchError, match="which on the cluster is another machine"):
        plan(LKCA_SEARCH_LEDGER="postgresql://me@localhost/lkca")
    assert plan(ledger="postgresql://me@localhost/lkca").ledger == "postgresql://me@localhost/lkca"


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
def test_a_secret_is_refused_without_being_repeated(variables: list[str]) -> None:
    with pytest.raises(SearchError, match="put the secret into the environment of the cluster's nodes") as caught:
        plan(*variables)
    assert "hunter2" not in str(caught.value)


def test_a_password_is_refused_wherever_it_stands() -> None:
    url = "postgresql://me:hunter2@db.example.org/lkca"
    for refused in (
        {"ledger": url},
        {"LKCA_SEARCH_LEDGER": url},
        {"overrides": [f"storage={url}"]},
        {"home": "s3://a:hunter2@b"},
    ):
        with pytest.raises(SearchError, match="no secret may travel with a job") as caught:
            plan(**refused)  # type: ignore[arg-type]
        assert "hunter2" not in str(caught.value)


def test_the_name_of_a_file_that_holds_a_secret_is_none() -> None:
    variables = ["PGPASSFILE=/etc/pgpass", "AWS_SHARED_CREDENTIALS_FILE=/etc/aws", "TOKENIZERS_PARALLELISM=1"]
    assert plan(*variables).environment["AWS_SHARED_CREDENTIALS_FILE"] == "/etc/aws"


def test_a_setting_given_twice_or_not_as_a_pair_is_refused() -> None:
    for variables, complaint in (
        (["LKCA_SEARCH_HOME=/other"], "given twice"),
        (["A=1", "A=2"], "given twice"),
        (["A"], "--env is NAME=VALUE"),
        (["1A=2"], "--env is NAME=VALUE"),
        (["LKCA_DATA_DIR=data"], "must be an absolute path"),
    ):
        with pytest.raises(SearchError, match=complaint):
            plan(*variables)


MISTAKES = [
    (["toy.yaml", "search.trials_per_cell=0"], "search.trials_per_cell"),
    (["toy.yaml", "--name", "a name"], "a search's name"),
    (["missing.yaml"], "cannot read the space file"),
    (["toy.yaml", "--home", "runs"], "a home that outlives its job"),
    (["toy.yaml", "--env", "MY_TOKEN=x"], "MY_TOKEN looks like"),
    (["toy.yaml", "--include", "missing"], "there is no"),
    (["toy.yaml", "--max-size", "0.1"], "must not exceed 0.1 MB"),
    (["toy.yaml", "--follow", "toy"], "a space file, or --follow"),
    ([], "a space file, or --follow"),
    (["--follow", "toy", "--no-wait"], "--follow submits nothing"),
]


@pytest.mark.parametrize(("arguments", "complaint"), MISTAKES, ids=[complaint for _, complaint in MISTAKES])
def test_a_mistake_is_told_before_the_cluster_is_spoken_to(
    submitter: Submitter, arguments: list[str], complaint: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        answer = submitter.call("submit", *arguments, "--address", address, LKCA_SEARCH_HOME="/shared")
        assert (answer.code, answer.out) == (2, "")
        assert complaint in answer.err
        assert "Traceback" not in answer.err
        with pytest.raises(BlockingIOError):
            listener.accept()


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """The address of a server that says the same to every request."""

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


def refused(submitter: Submitter, address: str) -> str:
    answer = submitter.call("submit", "toy.yaml", "--home", "/shared", "--address", address)
    assert (answer.code, answer.out) == (2, "")
    assert "Traceback" not in answer.err
    return answer.err


def test_an_address_that_is_none_or_where_nobody_answers_is_told(submitter: Submitter) -> None:
    port = free_port()
    assert f"no cluster answers at http://127.0.0.1:{port}" in refused(submitter, f"http://127.0.0.1:{port}")
    for address in ("head:8265", "ray://head:10001", "http://", "http://head:port", "auto"):
        assert f"http://HEAD:8265 as a rule, got {address!r}" in refused(submitter, address)
    answer = submitter.call("submit", "toy.yaml", "--home", "/shared")
    assert answer.code == 2
    assert "which cluster? Give --address http://HEAD:8265, or set RAY_API_SERVER_ADDRESS" in answer.err


def test_a_server_that_is_no_ray_or_another_ray_is_told(submitter: Submitter) -> None:
    with answering(200, "<html>hello</html>") as address:
        assert f"{address} answers, but not as Ray's dashboard does" in refused(submitter, address)
    with answering(404, "nothing here") as address:
        assert f"{address} does not do what Ray's Jobs API does" in refused(submitter, address)
    with answering(200, json.dumps({"version": "4", "ray_version": "2.59.0", "ray_commit": "x"})) as address:
        assert "Ray must be the same on both sides: " in (said := refused(submitter, address))
        assert f"2.59.0 on the cluster at {address}" in said
