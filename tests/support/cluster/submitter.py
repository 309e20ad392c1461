"""The machine of a user who submits searches: the command line, a space file, and a modified checkout."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import lkca_search
from lkca_search.layout import Home
from lkca_search.records.record import Record, read_records
from tests.support.processes import WAIT_SECONDS, Answer
from tests.support.search.command_line import SPACE, BackgroundCommand

MARK = f"{lkca_search.__version__}+shipped"
PROBE = '''
import json, os
import lkca_search
from optuna.samplers import RandomSampler

class Probe(RandomSampler):
    """Random sampler that writes the location of the driver's code to a file."""

    def __init__(self, seed=None):
        super().__init__(seed)
        if "PROBE" in os.environ:
            uploaded = sorted(set(os.listdir()) - {"__pycache__"})  # the import of this module makes __pycache__
            found = {"code": lkca_search.__file__, "folder": os.getcwd(), "files": uploaded}
            with open(os.environ["PROBE"], "w") as file:
                json.dump(found, file)
'''


class Submitter:
    """User's machine with a modified copy of the package, a space file, and a custom sampler."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.space = root / "toy.yaml"
        self.probe = root / "probes" / "probe.py"
        shutil.copytree(Path(lkca_search.__file__).parent, root / "lkca_search")
        (root / "lkca_search" / "__init__.py").write_text(f'__version__ = "{MARK}"\n')
        self.space.write_text(SPACE)
        self.probe.parent.mkdir()
        self.probe.write_text(PROBE)

    def call(self, *arguments: str, **variables: str) -> Answer:
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment(variables),
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str, **variables: str) -> BackgroundCommand:
        """Start a command in the background, with its output merged."""
        return BackgroundCommand(self.command(*arguments), self.environment(variables), self.root / "beside.log")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "lkca_search", *arguments]

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("LKCA_", "MLFLOW_"))}
        return {**ours, "PYTHONPATH": str(self.root), **variables}

    def records(self, name: str = "toy") -> list[Record]:
        return read_records(Home(root=self.home).search(name))


class Submitted(NamedTuple):
    """Result of a submitted search that has ended."""

    answer: Answer
    job: dict[str, Any]
    """Output of `submit --json`."""
    probed: dict[str, Any]
    """Location of the code and files of the driver."""
