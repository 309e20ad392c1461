"""Searches submitted to a real cluster of two nodes by the command line."""

import json
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ray.job_submission import JobDetails, JobSubmissionClient

from cluster.local.local_cluster import LocalCluster
from lkca_search.layout import Home
from lkca_search.records.provenance import read_search_code
from lkca_search.records.record import State, read_replicates
from lkca_search.search.jobs.client import JobsClient
from lkca_search.search.jobs.versions import PACKAGES
from tests.support.cluster.dropping_proxy import DroppingProxy
from tests.support.cluster.submitter import MARK, Submitted, Submitter
from tests.support.own_code import write_examples
from tests.support.processes import WAIT_SECONDS
from tests.support.search.command_line import CELLS

pytestmark = pytest.mark.slow
PACKAGE_FOLDER = re.compile(r"/working_dir_files/_ray_pkg_[0-9a-f]+/")


def details(cluster: LocalCluster, job_id: str) -> JobDetails:
    return JobSubmissionClient(cluster.dashboard).get_job_info(job_id)


def submit(submitter: Submitter, cluster: LocalCluster, *arguments: str, **variables: str) -> Any:
    options = ["--address", cluster.dashboard, "--home", str(submitter.home)]
    return submitter.call("submit", str(submitter.space), *arguments, *options, **variables)


def trial_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if re.match(r"\[\d+/\d+\]", line)]


def test_driver_and_workers_of_a_submitted_search_run_the_uploaded_code(
    submitter: Submitter, submitted: Submitted
) -> None:
    folder = submitted.probed["folder"]
    assert PACKAGE_FOLDER.search(f"{folder}/")
    assert submitted.probed["code"] == f"{folder}/lkca_search/__init__.py"
    records = submitter.records()
    assert len(records) == 4
    assert {record.facts.provenance.package_version for record in records if record.facts} == {MARK}


def test_only_the_package_the_space_file_and_included_files_are_uploaded(submitted: Submitted) -> None:
    assert submitted.probed["files"] == ["lkca_search", "probe.py", "toy.yaml"]


def test_submit_prints_the_job_then_the_log_and_with_json_one_object(submitted: Submitted) -> None:
    lines = submitted.answer.err.splitlines()
    assert lines[0].startswith(f"search toy is job {submitted.job['job_id']} at http://")
    assert len(trial_lines(submitted.answer.err)) == 4
    assert submitted.job["search"] == "toy"
    assert (submitted.job["status"], submitted.job["exit_code"]) == ("SUCCEEDED", 0)


def test_a_job_has_its_home_and_no_variable_of_the_submitters_machine(
    cluster: LocalCluster, submitter: Submitter, submitted: Submitted
) -> None:
    job = details(cluster, submitted.job["job_id"])
    assert job.metadata is not None
    assert job.runtime_env is not None
    assert job.metadata["lkca_search"] == "toy"
    assert job.metadata["lkca_home"] == str(submitter.home)
    variables = job.runtime_env["env_vars"]
    expected = {"LKCA_SEARCH_HOME", "LKCA_SUBMITTED_WITH", "PROBE", "RAY_JOB_STOP_WAIT_TIME_S"}
    assert set(variables) - {"LKCA_GIT_COMMIT"} == expected
    assert json.loads(variables["LKCA_SUBMITTED_WITH"]).keys() == {"python", *PACKAGES}


def test_status_and_logs_on_the_cluster_equal_those_read_from_its_home(
    cluster: LocalCluster, submitter: Submitter, submitted: Submitted
) -> None:
    for options in ([], ["--json"]):
        there = submitter.call("status", "toy", "--address", cluster.dashboard, *options)
        here = submitter.call(
            "status", "toy", *options, LKCA_SEARCH_HOME=str(submitter.home), RAY_API_SERVER_ADDRESS="http://127.0.0.1:1"
        )
        assert there == here
        assert there.code == 0
    logs = submitter.call("logs", "toy", RAY_API_SERVER_ADDRESS=cluster.dashboard)
    assert logs.code == 0
    assert trial_lines(logs.out) == trial_lines(submitted.answer.err)


def test_the_exit_code_and_error_of_a_command_on_the_cluster_are_passed_on(
    cluster: LocalCluster, submitter: Submitter, submitted: Submitted
) -> None:
    answer = submitter.call("stop", "toy", "--address", cluster.dashboard)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == "error: search 'toy' is not running\n"
    answer = submitter.call("status", "other", "--address", cluster.dashboard)
    assert answer.code == 2
    assert "has no job of search 'other'" in answer.err


def test_the_same_name_resumes_a_search_and_its_log_is_complete_after_lost_connections(
    cluster: LocalCluster, submitter: Submitter, submitted: Submitted
) -> None:
    overrides = ["search.trials_per_cell=6", "search.sampler=probe.Probe"]
    answer = submit(submitter, cluster, *overrides, "--include", str(submitter.probe), "--no-wait")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("search toy is job ")
    assert f"lkca-search stop toy --address {cluster.dashboard}" in answer.out
    with DroppingProxy(cluster.dashboard_port) as proxy:
        following = submitter.start("submit", "--follow", "toy", "--address", proxy.address)
        num_seen = 0
        while following.process.poll() is None:
            time.sleep(0.5)
            if len(trial_lines(following.printed())) >= num_seen + 3:  # repeatedly, in the middle of the log
                num_seen = len(trial_lines(following.printed()))
                proxy.drop()
        code, printed = following.wait()
        assert proxy.num_connections > 3
    assert code == 0, printed
    logged = submitter.call("logs", "toy", "--address", cluster.dashboard).out
    assert printed.split("\n", 1)[1] == logged
    assert len(trial_lines(logged)) == 20
    assert len(submitter.records()) == 24


def test_own_code_beside_the_space_file_is_uploaded_and_trains_on_the_cluster(
    cluster: LocalCluster, submitter: Submitter, tmp_path: Path
) -> None:
    space = write_examples(tmp_path)
    options = ["--address", cluster.dashboard, "--home", str(submitter.home), "--name", "own"]
    overrides = ["search.trials_per_cell=1", "confirm.draws=1"]
    answer = submitter.call("submit", str(space), *overrides, *options)
    assert answer.code == 0, answer.out + answer.err
    folder = Home(root=submitter.home).search("own")
    code = read_search_code(folder)
    assert code is not None
    assert PACKAGE_FOLDER.search(f"{code.folders[0]}/")
    records = [*submitter.records("own"), *read_replicates(folder)]
    assert len(records) == 4
    assert {record.state for record in records} == {State.COMPLETE}
    recorded = {record.facts.provenance.own_code for record in records if record.facts}
    assert recorded == {f"mylab {code.modules['mylab']}"}


def test_one_of_two_simultaneous_submissions_of_a_search_drives_it_and_the_other_is_an_error(
    cluster: LocalCluster, submitter: Submitter
) -> None:
    with ThreadPoolExecutor() as pool:
        submitting = [
            pool.submit(submit, submitter, cluster, "search.trials_per_cell=1", "--name", "twice") for _ in range(2)
        ]
        answers = sorted((each.result() for each in submitting), key=lambda answer: answer.code)
    assert [answer.code for answer in answers] == [0, 2], "\n".join(answer.out + answer.err for answer in answers)
    output = answers[1].out + answers[1].err
    assert "is already driven by job raysubmit_" in output or "is being driven by another driver" in output
    records = submitter.records("twice")
    assert Counter(record.trial_id for record in records) == {f"{cell}/0": 1 for cell in CELLS}
    assert {record.driver for record in records} == {1}


def test_incompatible_versions_end_the_job_with_a_table_before_the_search_starts(
    cluster: LocalCluster, submitter: Submitter, tmp_path: Path
) -> None:
    metadata = tmp_path / "numpy-1.26.4.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.26.4\n")
    answer = submit(submitter, cluster, "--name", "mixed", PYTHONPATH=f"{tmp_path}:{submitter.root}")
    assert answer.code == 2
    table = answer.out.split("nothing was started:", 1)[1]
    assert re.search(r"submitted with +the cluster has\nnumpy +1\.26\.4 +\d", table)
    assert "torch" not in table
    assert not (submitter.home / "searches" / "mixed").exists()


def test_a_driver_that_cannot_start_is_exit_code_1_and_lkca_python_selects_the_clusters_python(
    cluster: LocalCluster, submitter: Submitter
) -> None:
    answer = submit(submitter, cluster, "--name", "unstarted", "--env", "LKCA_PYTHON=/not/there/python")
    assert answer.code == 1
    assert "/not/there/python" in answer.out
    assert "ended as FAILED with exit code 127, which is none of `run`" in answer.err


def submit_long(submitter: Submitter, cluster: LocalCluster) -> dict[str, Any]:
    """Submit a search named `long` that would train for minutes; wait until it trains."""
    began = time.time()
    answer = submit(submitter, cluster, "training.steps=40000", "--name", "long", "--no-wait", "--json")
    assert answer.code == 0, answer.err
    job: dict[str, Any] = json.loads(answer.out)
    deadline = time.monotonic() + WAIT_SECONDS
    while not any(path.stat().st_mtime > began for path in submitter.home.glob("searches/long/trials/*/*/attempt-*")):
        assert time.monotonic() < deadline, JobSubmissionClient(cluster.dashboard).get_job_logs(job["job_id"])
        time.sleep(0.5)
    return job


@pytest.fixture(scope="module")
def long_job(cluster: LocalCluster, submitter: Submitter) -> Iterator[dict[str, Any]]:
    job = submit_long(submitter, cluster)
    yield job
    JobSubmissionClient(cluster.dashboard).stop_job(job["job_id"])


def test_a_search_with_a_running_job_is_not_submitted_again(
    cluster: LocalCluster, submitter: Submitter, long_job: dict[str, Any]
) -> None:
    answer = submit(submitter, cluster, "--name", "long")
    assert answer.code == 2
    assert long_job["job_id"] in answer.err
    assert f"lkca-search submit --follow long --address {cluster.dashboard}" in answer.err
    status = json.loads(submitter.call("status", "long", "--json", "--address", cluster.dashboard).out)
    assert status["is_driven"]


@pytest.mark.filterwarnings(
    "ignore:ssl=None is deprecated:DeprecationWarning"
)  # raised by Ray when it opens a web socket
def test_a_cluster_that_no_longer_responds_is_an_error(cluster: LocalCluster, long_job: dict[str, Any]) -> None:
    """`test_faults.py` resumes such a search on a new cluster."""
    notices: list[str] = []
    with DroppingProxy(cluster.dashboard_port) as proxy:
        address = proxy.address
        client = JobsClient(address)
        with pytest.raises(ConnectionError, match=f"{address} no longer responds") as caught:
            client.follow(long_job["job_id"], lambda _: proxy.close(), notify=notices.append, reconnect_seconds=2)
    assert len(notices) == 1
    assert notices[0].startswith(f"the cluster at {address} does not respond (")
    assert notices[0].endswith("); trying for 2 s")
    assert "HTTPConnectionPool" not in str(caught.value)


def test_ctrl_c_does_not_end_the_job_and_stop_does(
    cluster: LocalCluster, submitter: Submitter, long_job: dict[str, Any]
) -> None:
    following = submitter.start("logs", "long", "--follow", "--address", cluster.dashboard)
    following.wait_until(lambda: "Running entrypoint" in following.printed())
    following.process.send_signal(signal.SIGINT)
    code, printed = following.wait()
    assert code == 130
    assert f"lkca-search submit --follow long --address {cluster.dashboard}" in printed
    assert f"lkca-search stop long --address {cluster.dashboard}" in printed
    assert "Traceback" not in printed
    assert details(cluster, long_job["job_id"]).status.value == "RUNNING"

    stopped = submitter.call("stop", "long", "--now", "--address", cluster.dashboard)
    assert stopped.code == 0, stopped.err
    assert stopped.out.startswith("search long has stopped: 0 of 8 trials finished")
    ended = submitter.call("submit", "--follow", "long", "--address", cluster.dashboard, "--json")
    assert ended.code == 1  # like a stopped `run`: trials are left
    assert json.loads(ended.out)["exit_code"] == 1


def test_a_job_that_ray_stops_writes_its_tables_before_it_ends(cluster: LocalCluster, submitter: Submitter) -> None:
    job = submit_long(submitter, cluster)
    tables = submitter.home / "searches" / "long" / "trials.parquet"
    tables.unlink(missing_ok=True)
    JobSubmissionClient(cluster.dashboard).stop_job(job["job_id"])
    ended = submitter.call("submit", "--follow", "long", "--address", cluster.dashboard)
    assert ended.code == 1
    assert "SIGTERM: stopping now; running trials resume from their checkpoints in the next run" in ended.out
    assert f"job {job['job_id']} ended as STOPPED" in ended.err
    assert tables.exists()  # a driver writes these last
