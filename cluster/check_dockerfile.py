"""Check of the Dockerfile without Docker: its pip steps in a new virtual environment, then a search in it.

    python cluster/check_dockerfile.py [--python python3.11] [--folder /tmp]

Takes several minutes and about 7 GB of disk, which is freed at the end. Prints the steps that it skips.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "cluster" / "Dockerfile"
EXTRA_MODULES = ("psycopg", "boto3", "googleapiclient", "google.cloud.storage", "flask_wtf")
"""Modules of the extra `cluster`, which the image must have."""
SEARCH = (
    *("lkca-search", "run", "search_spaces/quickstart.yaml", "--name", "image"),
    *("factors.data_fraction=[1.0]", "search.trials_per_cell=1", "training={steps: 40, reports: 2}"),
)


class Step(NamedTuple):
    """Instruction of a Dockerfile."""

    instruction: str
    """RUN, COPY, and so on."""
    arguments: str
    """Arguments of the instruction, on one line."""


def read_steps(text: str) -> Iterator[Step]:
    """Yield the steps of a Dockerfile, without comments and with continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        instruction, _, arguments = line.strip().partition(" ")
        if instruction:
            yield Step(instruction.upper(), arguments.strip())


def runs_pip(step: Step) -> bool:
    """Return True if a step installs packages, which a virtual environment can do as well."""
    return step.instruction == "RUN" and "pip install" in step.arguments


def copy_arguments(step: Step) -> tuple[list[str], str]:
    """Return the sources of a COPY, relative to the repository, and its destination."""
    *sources, destination = [word for word in shlex.split(step.arguments) if not word.startswith("--")]
    return sources, destination


def variables(steps: list[Step], instruction: str) -> dict[str, str]:
    """Return the variables that ENV sets, or the default values of ARG."""
    pairs = [pair for step in steps if step.instruction == instruction for pair in shlex.split(step.arguments)]
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


class Image:
    """Stand-in for the image: a folder for its file system and a virtual environment for its Python."""

    def __init__(self, folder: Path, python: str, steps: list[Step]) -> None:
        self.root, self.environment = folder / "root", folder / "environment"
        self._steps = steps
        self._cwd = self.root
        subprocess.run([python, "-m", "venv", str(self.environment)], check=True)

    def local_path(self, path: str) -> Path:
        """Return the local path of a path in the image; a relative path starts at the working directory."""
        return self.root / path.lstrip("/") if path.startswith("/") else self._cwd / path

    def build(self) -> None:
        """Run the steps WORKDIR, COPY and RUN pip; print the other RUN steps."""
        for step in self._steps:
            if step.instruction == "WORKDIR":
                self._cwd = self.local_path(step.arguments)
                self._cwd.mkdir(parents=True, exist_ok=True)
            elif step.instruction == "COPY":
                self._copy(*copy_arguments(step))
            elif runs_pip(step):
                self.run(["bash", "-euc", step.arguments], variables(self._steps, "ARG"))
            elif step.instruction == "RUN":
                print(f"skipped: RUN {step.arguments}")

    def run(self, command: list[str], extra_variables: Mapping[str, str]) -> str:
        """Run a command as in the image, print its duration and return its output. Exit if it fails."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LKCA_", "RAY_"))}
        kept["PATH"] = os.pathsep.join([str(self.environment / "bin"), os.environ["PATH"]])
        start = time.monotonic()
        done = subprocess.run(command, env=kept | dict(extra_variables), cwd=self._cwd, text=True, capture_output=True)
        print(f"{time.monotonic() - start:6.1f} s  {shlex.join(command)}")
        if done.returncode:
            sys.exit(f"exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _copy(self, sources: list[str], destination: str) -> None:
        local_destination = self.local_path(destination)
        for source in sources:
            target = local_destination / Path(source).name if destination.endswith("/") else local_destination
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                caches = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, target, ignore=caches, dirs_exist_ok=True)
            else:
                shutil.copy2(ROOT / source, target)


def main() -> None:
    """Build the stand-in, run commands and a search in it, and print its size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--python", default="python3.11", help="Python of the version in the Dockerfile (default: %(default)s)"
    )
    parser.add_argument("--folder", help="folder for the temporary files (default: the system's)")
    options = parser.parse_args()
    steps = list(read_steps(DOCKERFILE.read_text()))
    with tempfile.TemporaryDirectory(prefix="image-", dir=options.folder) as folder:
        image = Image(Path(folder), options.python, steps)
        image.build()
        environment = {**variables(steps, "ENV"), "HOME": str(image.local_path("/home/lkca"))}
        for module in EXTRA_MODULES:
            image.run(["python", "-c", f"import {module}"], environment)
        for command in (["lkca-search", "--version"], ["ray", "--version"], ["python", "-m", "pip", "check"]):
            print(image.run(command, environment).strip())
        print(image.run(list(SEARCH), environment))
        for name in (image.environment, image.root):
            print(subprocess.run(["du", "-sh", name], text=True, capture_output=True, check=True).stdout.strip())


if __name__ == "__main__":
    main()
