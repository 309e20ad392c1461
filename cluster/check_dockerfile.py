"""Do what the Dockerfile does, without Docker: its pip steps in a fresh environment, and then a search in that.

    python cluster/check_dockerfile.py [--python python3.11] [--folder /tmp]

Takes some minutes and about 7 GB below the folder, which are removed at the end. What is not done is said.
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
PROMISED = ("psycopg", "boto3", "googleapiclient", "google.cloud.storage", "flask_wtf")
"""What the image has beside the package's own dependencies."""
SEARCH = (
    *("lkca-search", "run", "search_spaces/quickstart.yaml", "--name", "image"),
    *("factors.data_fraction=[1.0]", "search.trials_per_cell=1", "training.steps=40", "training.reports=2"),
)


class Step(NamedTuple):
    """One instruction of a Dockerfile."""

    word: str
    """RUN, COPY and the like."""
    text: str
    """What stands behind it, on one line."""


def read_steps(text: str) -> Iterator[Step]:
    """Read a Dockerfile: comments left out, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word:
            yield Step(word.upper(), rest.strip())


def runs_pip(step: Step) -> bool:
    """Whether a step is one that a virtual environment can take the place of the image for."""
    return step.word == "RUN" and "pip install" in step.text


def copied(step: Step) -> tuple[list[str], str]:
    """Sources, below the repository, and destination of a COPY."""
    *sources, destination = [word for word in shlex.split(step.text) if not word.startswith("--")]
    return sources, destination


def variables(steps: list[Step], word: str) -> dict[str, str]:
    """The variables that ENV sets, or the defaults of ARG."""
    pairs = [pair for step in steps if step.word == word for pair in shlex.split(step.text)]
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


class Image:
    """A folder that stands for the image's root, with a virtual environment in the place of its Python."""

    def __init__(self, folder: Path, python: str, steps: list[Step]) -> None:
        self.root, self.environment = folder / "root", folder / "environment"
        self._steps = steps
        self._cwd = self.root
        subprocess.run([python, "-m", "venv", str(self.environment)], check=True)

    def place(self, path: str) -> Path:
        """Where a path of the image is here, a relative one below its working directory."""
        return self.root / path.lstrip("/") if path.startswith("/") else self._cwd / path

    def build(self) -> None:
        """Follow the steps."""
        for step in self._steps:
            if step.word == "WORKDIR":
                self._cwd = self.place(step.text)
                self._cwd.mkdir(parents=True, exist_ok=True)
            elif step.word == "COPY":
                self._copy(*copied(step))
            elif runs_pip(step):
                self.run(["bash", "-euc", step.text], variables(self._steps, "ARG"))
            elif step.word == "RUN":
                print(f"not done: RUN {step.text}")

    def run(self, command: list[str], more: Mapping[str, str]) -> str:
        """Run a command as in the image, say how long it took, and return what it printed; it must succeed."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LKCA_", "RAY_"))}
        kept["PATH"] = os.pathsep.join([str(self.environment / "bin"), os.environ["PATH"]])
        begun = time.monotonic()
        done = subprocess.run(command, env=kept | dict(more), cwd=self._cwd, text=True, capture_output=True)
        print(f"{time.monotonic() - begun:6.1f} s  {shlex.join(command)}")
        if done.returncode:
            sys.exit(f"exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _copy(self, sources: list[str], destination: str) -> None:
        into = self.place(destination)
        for source in sources:
            target = into / Path(source).name if destination.endswith("/") else into
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                left_out = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, target, ignore=left_out, dirs_exist_ok=True)
            else:
                shutil.copy2(ROOT / source, target)


def main() -> None:
    """Build, use, measure, remove."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default="python3.11", help="a Python of the version that the Dockerfile names")
    parser.add_argument("--folder", help="where to work; by default where temporary files are")
    given = parser.parse_args()
    steps = list(read_steps(DOCKERFILE.read_text()))
    with tempfile.TemporaryDirectory(prefix="image-", dir=given.folder) as folder:
        image = Image(Path(folder), given.python, steps)
        image.build()
        used = {**variables(steps, "ENV"), "HOME": str(image.place("/home/lkca"))}
        for module in PROMISED:
            image.run(["python", "-c", f"import {module}"], used)
        for command in (["lkca-search", "--version"], ["ray", "--version"], ["python", "-m", "pip", "check"]):
            print(image.run(command, used).strip())
        print(image.run(list(SEARCH), used))
        for name in (image.environment, image.root):
            print(subprocess.run(["du", "-sh", name], text=True, capture_output=True, check=True).stdout.strip())


if __name__ == "__main__":
    main()
