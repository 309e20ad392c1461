"""Commands on the pages of cluster/kuberay and cluster/mlflow, and the scripts that run there."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import typer.main

from cluster.local.local_cluster import LocalCluster
from lkca_search.cli.app import app
from lkca_search.errors import UserError
from lkca_search.spec.space_file import read_space_file
from tests.support.cluster.guarded_postgres import guarded_postgres
from tests.support.cluster.manifests import FOLDER, ROOT, Manifest, blocks, pods, render
from tests.support.cluster.submitter import SPACE, Submitter
from tests.support.postgres import Postgres
from tests.support.processes import WAIT_SECONDS, Answer
from tests.support.search.command_line import ONE_CELL

MLFLOW = ROOT / "cluster" / "mlflow"
PAGES = [FOLDER / "README.md", MLFLOW / "README.md"]
SCRIPTS = [MLFLOW / "start.sh", FOLDER / "postgres-roles.sh"]
OUR_COMMAND = re.compile(r"(?:(?<!-n )(?<!namespace )lkca-search|python -m lkca_search) ([a-z]+ [^#`\n]*)")
BINARIES = Path(sys.executable).parent


def read_command(line: str) -> tuple[str, dict[str, object]]:
    """Return the name and the parsed arguments of a command of `lkca-search`."""
    name, *arguments = shlex.split(line)
    group = typer.main.get_command(app)
    command = group.commands[name]  # type: ignore[attr-defined]
    return name, command.make_context(name, arguments).params


@pytest.fixture(scope="module")
def rayjob() -> Manifest:
    (found,) = [manifest for manifest in render(FOLDER / "job") if manifest["kind"] == "RayJob"]
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_shellcheck_finds_no_fault_in_the_scripts(script: Path) -> None:
    for command in (["bash", "-n"], [str(BINARIES / "shellcheck")]):
        done = subprocess.run([*command, str(script)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
    assert script.stat().st_mode & 0o111


def test_shellcheck_finds_no_fault_in_the_blocks_of_the_page() -> None:
    pasted = blocks(FOLDER / "README.md")
    assert len(pasted) == 6
    for block in pasted:
        done = subprocess.run(
            [str(BINARIES / "shellcheck"), "--shell=bash", "-"], input=block, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_commands_of_the_pages_are_valid_and_named_files_exist(page: Path) -> None:
    text = page.read_text()
    commands = [read_command(line) for line in OUR_COMMAND.findall(text)]
    assert commands
    for name, parameters in commands:
        if name == "submit" and parameters["space"] is not None:
            read_space_file(ROOT / str(parameters["space"]), parameters["overrides"] or ())  # type: ignore[arg-type]
    paths = re.findall(r"(?<![\w/.-])((?:cluster|search_spaces|docs)/[\w./-]*\w)", text)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    missing = [path for path in paths if not (ROOT / path).exists()]
    missing += [link for link in links if not (page.parent / link).exists()]
    assert missing == []


def test_the_job_runs_a_valid_command_on_the_space_file_of_the_page(rayjob: Manifest) -> None:
    (line,) = OUR_COMMAND.findall(rayjob["spec"]["entrypoint"])
    name, parameters = read_command(line)
    assert (name, parameters["address"]) == ("run", "auto")
    assert parameters["name"] == rayjob["spec"]["metadata"]["lkca_search"] == rayjob["metadata"]["name"]
    (given,) = re.findall(r"create configmap (\w+) --from-file=([\w.]+)=(\S+)", (FOLDER / "README.md").read_text())
    (head,) = [pod for pod in pods([rayjob]) if pod.name.endswith("head")]
    (volume,) = [volume for volume in head.spec["volumes"] if volume.get("configMap", {}).get("name") == given[0]]
    (mount,) = [each for each in head.containers[0]["volumeMounts"] if each["name"] == volume["name"]]
    assert str(parameters["space"]) == f"{mount['mountPath']}/{given[1]}"
    spec = read_space_file(ROOT / given[2], parameters["overrides"]).spec  # type: ignore[arg-type]
    assert 0 < float(spec.resources.gpu) <= 1
    with pytest.raises(UserError):
        read_space_file(ROOT / given[2], ["resources.gpus=1"])


def test_the_start_script_accepts_the_environment_of_mlflows_pod() -> None:
    manifests = render(FOLDER)
    (pod,) = [pod for pod in pods(manifests) if pod.labels["lkca-search/role"] == "mlflow"]
    (site,) = [each["data"] for each in manifests if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "site"]
    given = {"PATH": os.environ["PATH"], "LKCA_PYTHON": "true"}  # which does nothing, and ends well
    for variable in pod.containers[0]["env"]:
        reference = variable.get("valueFrom", {}).get("configMapKeyRef")
        given[variable["name"]] = site[reference["key"]] if reference else variable.get("value", "of-a-secret")
    done = subprocess.run(["bash", str(MLFLOW / "start.sh")], env=given, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    (command,) = [shlex.join(container["command"]) for container in pod.containers]
    assert command == "bash /opt/mlflow/start.sh"
    (mount,) = [each for each in pod.containers[0]["volumeMounts"] if each["mountPath"] == "/opt/mlflow"]
    (volume,) = [each for each in pod.spec["volumes"] if each["name"] == mount["name"]]
    (files,) = [each["data"] for each in manifests if each["metadata"]["name"] == volume["configMap"]["name"]]
    assert files == {name: (MLFLOW / name).read_text() for name in ("start.sh", "logins.py")}


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    """Start a PostgreSQL and run the script of the roles on it, as the image does."""
    with guarded_postgres() as server:
        environment = {
            "PATH": "/usr/bin:/bin",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(server.port),
            "POSTGRES_USER": "tests",
            "LEDGER_PASSWORD": "of-the-ledger'\"$",
            "MLFLOW_PASSWORD": "of-mlflow",
        }
        done = subprocess.run(
            ["bash", str(FOLDER / "postgres-roles.sh")], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        yield server


@pytest.mark.parametrize(
    ("role", "password", "name", "is_let_in"),
    [
        ("ledger", "of-the-ledger'\"$", "ledger", True),
        ("mlflow", "of-mlflow", "mlflow", True),
        ("ledger", "of-mlflow", "ledger", False),
        ("ledger", "of-the-ledger'\"$", "mlflow", False),
        ("mlflow", "of-mlflow", "ledger", False),
    ],
)
def test_each_role_can_use_its_own_database_only(
    database: Postgres, role: str, password: str, name: str, is_let_in: bool
) -> None:
    place = {"host": "127.0.0.1", "port": database.port, "user": role, "password": password, "dbname": name}
    if not is_let_in:
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(**place)  # type: ignore[arg-type]
        return
    with psycopg.connect(**place) as connection:  # type: ignore[arg-type]
        connection.execute("CREATE SCHEMA own")
        connection.execute("CREATE TABLE own.rows (id integer)")


def submit_like_kuberay(cluster: LocalCluster, job: Manifest, job_id: str, space: Path, *more: str) -> Answer:
    """Run the command of KubeRay's submitter: the entry point in a shell, by `ray job submit`."""
    place = f"--address {cluster.dashboard}"
    entry_point = job["spec"]["entrypoint"].replace("/etc/lkca/space.yaml", shlex.join([str(space), *more]))
    metadata = json.dumps(json.dumps(job["spec"]["metadata"]))
    submit = f"ray job submit {place} --no-wait --metadata-json {metadata} --submission-id {job_id} -- {entry_point}"
    known = f"ray job status {place} {job_id} >/dev/null 2>&1"
    command = f"if ! {known} ; then {submit} ; fi ; ray job logs {place} --follow {job_id}"
    done = subprocess.run(
        ["/bin/bash", "-ce", "--", command],
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_the_job_drives_a_search_resumes_it_after_a_restart_and_is_found_by_status(
    rayjob: Manifest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    submitter = Submitter(tmp_path_factory.mktemp("job"))
    space = submitter.root / "space.yaml"
    space.write_text(SPACE)
    name = rayjob["spec"]["metadata"]["lkca_search"]
    with LocalCluster(num_cpus=0, token="5" * 64, environment={"LKCA_SEARCH_HOME": str(submitter.home)}) as cluster:
        cluster.add_node(num_cpus=1, num_gpus=1)
        first = submit_like_kuberay(cluster, rayjob, "first", space, *ONE_CELL, "search.trials_per_cell=1")
        assert first.code == 0, first.out + first.err
        records = {record.trial_id: record for record in submitter.records(name)}
        assert len(records) == 1
        again = submit_like_kuberay(cluster, rayjob, "again", space, *ONE_CELL, "search.trials_per_cell=2")
        assert again.code == 0, again.out + again.err
        assert len(submitter.records(name)) == 2
        assert records.items() <= {record.trial_id: record for record in submitter.records(name)}.items()
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "5" * 64}
        status = submitter.call("status", name, "--json", "--address", cluster.dashboard, **token)
        assert status.code == 0, status.err
        cells = json.loads(status.out)["cells"]
        assert [cell["complete"] for cell in cells] == [2]
