"""Steps of the Dockerfile, files that they copy, and the check that runs them without Docker."""

import fnmatch
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cluster.check_dockerfile import (
    DOCKERFILE,
    SEARCH,
    Image,
    Step,
    copy_arguments,
    read_steps,
    runs_pip,
    variables,
)
from lkca_search.spec.space_file import read_space_file
from tests.support.cluster.autoscaler_files import ROOT

STEPS = list(read_steps(DOCKERFILE.read_text()))
SHELLCHECK = Path(sys.executable).parent / "shellcheck"


def arguments(instruction: str) -> list[str]:
    return [step.arguments for step in STEPS if step.instruction == instruction]


def is_ignored(path: str) -> bool:
    """Return True if `.dockerignore` excludes a path: the last pattern that matches it or a parent folder decides."""
    lines = [line.strip() for line in (ROOT / ".dockerignore").read_text().splitlines()]
    parts = path.split("/")
    parents = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    ignored = False
    for line in lines:
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!").removeprefix("**/")
            names = parents if not line.removeprefix("!").startswith("**/") else parts
            if any(fnmatch.fnmatchcase(name, pattern) for name in names):
                ignored = not line.startswith("!")
    return ignored


def test_comments_of_a_dockerfile_are_skipped_and_continued_lines_joined() -> None:
    text = "# why\nFROM a:1\nRUN one \\\n    # and why\n    && two\n\nENV A=1 \\\n    B='2 3'\ncopy x y /z/\n"
    steps = list(read_steps(text))
    assert steps == [
        Step("FROM", "a:1"),
        Step("RUN", "one && two"),
        Step("ENV", "A=1 B='2 3'"),
        Step("COPY", "x y /z/"),
    ]
    assert variables(steps, "ENV") == {"A": "1", "B": "2 3"}
    assert copy_arguments(steps[3]) == (["x", "y"], "/z/")


def test_the_dockerfile_has_only_the_expected_instructions() -> None:
    assert {step.instruction for step in STEPS} == {"ARG", "FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER", "CMD"}
    assert arguments("FROM") == ["python:${PYTHON_VERSION}-slim"]
    assert STEPS[0] == Step("ARG", f"PYTHON_VERSION={variables(STEPS, 'ARG')['PYTHON_VERSION']}")
    assert json.loads(arguments("CMD")[0])[0] == "lkca-search"


def test_every_copied_file_exists_and_is_in_the_build_context() -> None:
    sources = [source for step in STEPS if step.instruction == "COPY" for source in copy_arguments(step)[0]]
    assert len(sources) >= 7
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not is_ignored(source), source


@pytest.mark.parametrize(
    "path",
    [".git/config", ".venv/bin/python", "lkca_runs/mlflow.db", "lkca_search/__pycache__/a.pyc", "pgpass", "aws.yaml"],
)
def test_other_files_of_a_checkout_are_not_in_the_build_context(path: str) -> None:
    assert is_ignored(path)


def test_locked_dependencies_are_in_a_layer_that_does_not_depend_on_the_code() -> None:
    pip = [number for number, step in enumerate(STEPS) if runs_pip(step)]
    assert len(pip) == 2
    dependencies, package = (STEPS[number].arguments for number in pip)
    assert '--constraint constraints.txt ".[${EXTRAS}]"' in dependencies
    assert dependencies.endswith('".[${EXTRAS}]"')
    assert "--no-deps" in package
    before = [copy_arguments(step) for step in STEPS[: pip[0]] if step.instruction == "COPY"]
    assert before == [(["pyproject.toml", "constraints.txt"], "./")]
    assert all("--no-cache-dir" in STEPS[number].arguments for number in pip)


def test_the_extras_exist_and_their_packages_are_in_the_lock() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    for extra in variables(STEPS, "ARG")["EXTRAS"].split(","):
        for requirement in project["optional-dependencies"][extra]:
            name = re.match(r"[\w.-]+", requirement)
            assert name is not None
            assert name[0].lower() in pinned, requirement


def test_the_image_runs_as_an_unprivileged_user_with_home_set_for_rays_launcher() -> None:
    user = arguments("USER")
    assert user == ["1000:1000"]  # a number, since Kubernetes cannot check names
    last = max(number for number, step in enumerate(STEPS) if step.instruction == "RUN")
    assert STEPS.index(Step("USER", user[0])) > last
    (made,) = [text for text in arguments("RUN") if text.startswith("useradd")]
    assert "--create-home --uid 1000" in made
    assert variables(STEPS, "ENV")["HOME"] == f"/home/{made.split()[-1]}"


def test_ray_requires_a_token_and_the_dockerfile_has_no_secret_and_no_package_index() -> None:
    environment = variables(STEPS, "ENV")
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert set(variables(STEPS, "ARG")) == {"PYTHON_VERSION", "EXTRAS"}
    assert not re.search(r"(?i)index|https?://", DOCKERFILE.read_text())


def test_the_image_has_the_ssh_and_rsync_that_rays_launcher_needs() -> None:
    (installed,) = [text for text in arguments("RUN") if text.startswith("apt-get")]
    assert {"openssh-client", "rsync"} <= set(shlex.split(installed))
    assert installed.endswith("rm -rf /var/lib/apt/lists/*")
    assert "ENTRYPOINT" not in {step.instruction for step in STEPS}


@pytest.mark.parametrize("step", [text for text in arguments("RUN")], ids=lambda text: text.split()[0])
def test_shellcheck_finds_no_fault_in_a_run_step(step: str, tmp_path: Path) -> None:
    script = tmp_path / "step.sh"
    script.write_text(f"EXTRAS=cluster\n{step}\n" if "EXTRAS" in step else f"{step}\n")
    for command in (["bash", "-n"], [str(SHELLCHECK), "--shell=sh"]):
        done = subprocess.run([*command, str(script)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_check_copies_files_to_the_images_paths_and_exits_if_a_command_fails(tmp_path: Path) -> None:
    steps = [step for step in STEPS if step.instruction in ("WORKDIR", "COPY", "ARG", "ENV")]
    image = Image(tmp_path, sys.executable, steps)
    image.build()
    root = tmp_path / "root"
    assert (root / "opt/lkca-search/lkca_search/cli/app.py").is_file()
    assert (root / "opt/lkca-search/constraints.txt").is_file()
    assert (root / "usr/local/bin/fetch-secret").stat().st_mode & 0o111
    assert not list(root.rglob("__pycache__"))
    assert image.local_path(SEARCH[2]) == root / "home/lkca/search_spaces/quickstart.yaml"
    assert image.run(["python", "-c", "import sys; print(sys.prefix)"], {}).strip() == str(tmp_path / "environment")
    with pytest.raises(SystemExit, match="exit code 3"):
        image.run(["bash", "-c", "exit 3"], {})


def test_the_search_of_the_check_has_two_trials() -> None:
    overrides = [word for word in SEARCH[3:] if "=" in word]
    spec = read_space_file(ROOT / SEARCH[2], overrides).spec
    assert spec.search.trials_per_cell == 1
    assert len(spec.factors["family"].levels) * len(spec.factors["data_fraction"].levels) == 2
