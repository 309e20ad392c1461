"""Files for `ray up`: valid for Ray itself, and with common rules."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig

import lkca_search
from tests.support.cluster.autoscaler_files import (
    CLOUDS,
    CLUSTER,
    FILLED,
    IMAGE,
    ROOT,
    Command,
    commands,
    filled,
    listed,
    options,
    prepared,
    read,
    start,
)

SHELLCHECK = Path(sys.executable).parent / "shellcheck"
EVERY_FILE = pytest.mark.parametrize("name", FILLED)
EVERY_START = pytest.mark.parametrize("kind", ["head", "worker"])
OPEN_AMONG_NODES = [(22, 22), (6379, 6384), (10002, 10999)]
CLOSED = {"metrics-export-port": 6385, "ray-client-server-port": 6386}
SECRETS = re.compile(
    r"AKIA[0-9A-Z]{16}|AIza[\w-]{35}|gh[pousr]_\w{36}|-----BEGIN [A-Z ]*PRIVATE KEY|\b[0-9a-f]{40,}\b"
    r"|\w+://[^\s/:@]*:[^\s/@$<]+@"
    r"|(?i:password|secret|token|access_key)[\"']?\s*[:=]\s*[\"']?(?=[\w+/-]*\d)[\w+/-]{16,}"
)


@EVERY_FILE
def test_a_filled_in_file_is_valid_for_ray(name: str) -> None:
    validate_config(prepared(name))
    types = prepared(name)["available_node_types"]
    assert sum(kind["max_workers"] for kind in types.values()) == prepared(name)["max_workers"]


@pytest.mark.parametrize("name", CLOUDS)
def test_rays_autoscaler_v2_reads_the_file_that_the_head_gets(name: str) -> None:
    types = AutoscalingConfig(prepared(name), skip_content_hash=True).get_node_type_configs()
    assert {kind: (found.min_worker_nodes, found.max_worker_nodes) for kind, found in types.items()} == {
        "head": (0, 1),
        "gpu": (0, 8),
    }


def test_your_own_machines_use_rays_autoscaler_v1() -> None:
    before_start = start("on_prem", "head").split("ray start")[0]
    assert "export RAY_enable_autoscaler_v2=0;" in before_start
    assert prepared("on_prem")["available_node_types"]["local.cluster.node"]["min_workers"] == 2


@EVERY_FILE
def test_the_header_lists_every_placeholder_and_each_is_used(name: str) -> None:
    assert listed(name) == list(FILLED[name])
    values = yaml.safe_dump(yaml.safe_load(read(name)))
    for placeholder in listed(name):
        assert re.search(rf"\b{placeholder}\b", values), placeholder


@EVERY_FILE
def test_a_header_has_question_needs_placeholders_commands_and_cost(name: str) -> None:
    header = [line for line in read(name).splitlines() if line.startswith("#")]
    keys = [match[1] for line in header if (match := re.match(r"# ([A-Z][a-z ]+):  ", line))]
    assert keys == ["Question", "Needs", "Fill in", "Commands", "Cost"]
    first = next(i for i, line in enumerate(header) if line.startswith("# Commands:"))
    typed = [line.removeprefix("# Commands:").strip(" #") for line in header[first : first + 3]]
    assert typed[0] == f"ray up cluster/{name}.yaml"
    assert typed[1].startswith("lkca-search submit search_spaces/")
    assert typed[2] == f"ray down cluster/{name}.yaml"
    if name in CLOUDS:
        assert "USD" in read(name)
        assert "Check the provider's price page" in read(name)


@EVERY_FILE
@EVERY_START
def test_ray_requires_its_token_on_every_node_and_sends_no_usage_statistics(name: str, kind: str) -> None:
    before_start = start(name, kind).split("ray start")[0]
    for setting in ("RAY_AUTH_MODE=token", 'RAY_AUTH_TOKEN_PATH="$HOME/.ray/auth_token"', "RAY_USAGE_STATS_ENABLED=0"):
        assert re.search(rf"\bexport [^;]*{re.escape(setting)}[ ;]", before_start), setting


@EVERY_FILE
@EVERY_START
def test_a_node_has_the_token_before_ray_starts(name: str, kind: str) -> None:
    if name in CLOUDS:
        stage = [command.text for command in commands(name) if command.stage == f"{kind}_start_ray_commands"]
        (fetched,) = [i for i, text in enumerate(stage) if text.endswith("/.ray/auth_token")]
        assert stage[fetched].startswith("fetch-secret ")
        assert fetched < stage.index(start(name, kind))
    else:
        assert prepared(name)["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}


@EVERY_FILE
def test_the_head_runs_no_trial_and_its_dashboard_listens_on_the_loopback_interface(name: str) -> None:
    given = options(start(name, "head"))
    assert (given["num-cpus"], given["num-gpus"]) == ("0", "0")
    assert (given["dashboard-host"], given["dashboard-port"]) == ("127.0.0.1", "8265")
    assert not any("0.0.0.0" in command.text for command in commands(name))
    if name in CLOUDS:
        head = prepared(name)["available_node_types"]["head"]
        assert head["resources"] == {"CPU": 0}
        assert head["max_workers"] == 0


@EVERY_FILE
def test_the_head_starts_workers_that_connect_to_its_address(name: str) -> None:
    assert options(start(name, "head"))["autoscaling-config"] == '"$HOME/ray_bootstrap_config.yaml"'
    assert f'--address="$RAY_HEAD_IP:{options(start(name, "head"))["port"]}"' in start(name, "worker")


@EVERY_FILE
@EVERY_START
def test_every_port_is_fixed_and_those_between_nodes_are_open(name: str, kind: str) -> None:
    ports = {option: int(value) for option, value in options(start(name, kind)).items() if value.isdecimal()}
    workers = (ports.pop("min-worker-port"), ports.pop("max-worker-port"))
    ports = {option: port for option, port in ports.items() if option.endswith("port")}
    assert workers == OPEN_AMONG_NODES[2]
    ports.pop("dashboard-port", None)
    closed = {option: ports.pop(option) for option in CLOSED if option in ports}
    assert closed.items() <= CLOSED.items()
    first = 6379 if kind == "head" else 6380
    assert sorted(ports.values()) == list(range(first, OPEN_AMONG_NODES[1][1] + 1))


@pytest.mark.parametrize("name", CLOUDS)
def test_workers_are_spot_machines_that_scale_with_the_trials(name: str) -> None:
    config = prepared(name)
    spot = {
        "aws": lambda node: node.get("InstanceMarketOptions", {}).get("MarketType") == "spot",
        "gcp": lambda node: node.get("scheduling", {}).get("provisioningModel") == "SPOT",
    }[name]
    types = config["available_node_types"]
    assert {kind: spot(types[kind]["node_config"]) for kind in types} == {"head": False, "gpu": True}
    assert types["gpu"]["resources"]["GPU"] == 1
    assert types["gpu"]["min_workers"] == 0 < types["gpu"]["max_workers"] == config["max_workers"]
    assert config["upscaling_speed"] >= 1
    assert 0 < config["idle_timeout_minutes"] <= 30


@EVERY_FILE
def test_a_node_installs_only_locked_packages(name: str) -> None:
    installs = [command.text for command in commands(name) if "install" in command.text]
    locked = "-m pip install --quiet --constraint constraints.txt '.[cluster]'"
    assert all(text.endswith(locked) for text in installs)
    assert len(installs) == (0 if name in CLOUDS else 1)


@EVERY_FILE
def test_nodes_have_the_tested_versions_of_python_and_packages(name: str) -> None:
    (tried,) = re.findall(r"tried together on Python (\d+\.\d+)", (ROOT / "constraints.txt").read_text())
    if name in CLOUDS:
        assert f"ARG PYTHON_VERSION={tried}\n" in (CLUSTER / "Dockerfile").read_text()
        assert prepared(name)["docker"]["image"].endswith(f"/{IMAGE}")
        assert IMAGE == f"lkca-search:{lkca_search.__version__}"
    else:
        assert any(f"python{tried} -m venv" in command.text for command in commands(name))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={tried}"


@EVERY_FILE
def test_shellcheck_finds_no_fault_in_the_commands(name: str, tmp_path: Path) -> None:
    scripts = []
    for number, command in enumerate(commands(name)):
        script = tmp_path / f"{number}-{command.stage}.sh"
        script.write_text(f"{command.text}\n")
        scripts.append(str(script))
    for check in ([["bash", "-n", script] for script in scripts], [[str(SHELLCHECK), "--shell=bash", *scripts]]):
        for arguments in check:
            done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stdout + done.stderr


def test_shellcheck_finds_a_planted_fault(tmp_path: Path) -> None:
    script = tmp_path / "wrong.sh"
    script.write_text(Command("setup_commands", "test -d $HOME/a b && rm -r $folder/").text)
    assert subprocess.run([str(SHELLCHECK), "--shell=bash", str(script)], capture_output=True).returncode == 1


def test_no_file_of_the_folder_contains_a_secret() -> None:
    paths = [path for path in CLUSTER.rglob("*") if path.is_file() and "cache" not in str(path.relative_to(CLUSTER))]
    found = {str(path): match[0] for path in paths for match in SECRETS.finditer(path.read_text())}
    assert found == {}
    assert len(paths) > 20


@pytest.mark.parametrize(
    "text",
    [
        "AKIA" + "ABCDEFGHIJKLMNOP",
        "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
        "auth: " + "0123456789abcdef" * 4,
        "postgresql://ledger:" + "hunter2@db/ledger",
        "PASSWORD=" + "correct1horse2battery",
        'token: "' + 'abcdef0123456789"',
    ],
)
def test_a_planted_secret_is_found(text: str) -> None:
    assert SECRETS.search(text)


def test_the_placeholder_of_the_image_is_no_valid_image_name() -> None:
    name = re.compile(r"[a-z0-9]+([._/-][a-z0-9]+)*(:[\w.-]+)?")  # capitals are not allowed before the tag
    for cloud in CLOUDS:
        assert not name.fullmatch(yaml.safe_load(read(cloud))["docker"]["image"])
        assert name.fullmatch(filled(cloud)["docker"]["image"])
