"""A small search submitted to a cluster of two nodes on this machine, whose parts are killed, filled or taken away."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from cluster.local.local_cluster import LocalCluster
from cluster.local.mlflow_server import MLflowServer
from lkca_search.layout import Home, SearchFolder
from lkca_search.records.record import Record, read_records
from lkca_search.records.rounds import read_rounds
from tests.support.chaos.invariants import Event, broken_promises, read_events
from tests.support.search.command_line import CELLS, SPACE

TOKEN = "5" * 64
WAIT_SECONDS = 300
NODE = {"num_cpus": 4, "num_gpus": 2}
"""What each node declares: four trials at half a GPU."""
_INJECT = Path(__file__).parent / "inject"
_OVERRIDES = ("search.sampler=random", "training.steps=200", "training.reports=10", "resources.gpu=0.5")
"""Suggestions that do not depend on which results are in, and trainings long enough to be hit."""


class Rehearsal:
    """The cluster and the MLflow server, and where workers tell what they train."""

    def __init__(self, root: Path) -> None:
        self.events = root / "events"
        self.events.mkdir(parents=True)
        self.server = MLflowServer(root / "mlflow")
        self.server.start()
        self.cluster = self._start()

    def replace_cluster(self) -> None:
        """Lose the cluster with all its disks, and start another at other addresses."""
        self.cluster.close()
        self.cluster = self._start()

    def close(self) -> None:
        """Take all of it down."""
        self.cluster.close()
        self.server.kill()

    def _start(self) -> LocalCluster:
        told = {"PYTHONPATH": str(_INJECT), "CHAOS_FOLDER": str(self.events), "MLFLOW_TRACKING_URI": self.server.uri}
        cluster = LocalCluster(**NODE, token=TOKEN, environment=told)
        cluster.add_node(**NODE)
        return cluster


@contextmanager
def rehearsal(root: Path) -> Iterator[Rehearsal]:
    """A cluster of two nodes and an MLflow server, gone at the end."""
    running = Rehearsal(root)
    try:
        yield running
    finally:
        running.close()


class SubmittedSearch:
    """One search under a name of its own, and the submitter's commands for it."""

    def __init__(
        self,
        rehearsal: Rehearsal,
        root: Path,
        *,
        name: str,
        home: Path | None = None,
        trials_per_cell: int = 4,
        overrides: Sequence[str] = (),
        options: Sequence[str] = (),
        undisturbed: Mapping[str, Record] | None = None,
    ) -> None:
        """`root` is the submitter's folder, and its home lies there unless it is given.

        `options` are those of `submit`; `undisturbed` are the records of the same search left alone.
        """
        self.name = name
        self.home = Home(root=home or root / "home")
        self.num_submissions = 0
        self.trial_ids = {f"{cell}/{number}" for cell in CELLS for number in range(trials_per_cell)}
        self.durable: dict[Path, bytes] = {}
        """The records that were there when something was killed."""
        self._rehearsal = rehearsal
        self._space = root / "toy.yaml"
        self._overrides = [*_OVERRIDES, f"search.trials_per_cell={trials_per_cell}", *overrides]
        self._options = options
        self._undisturbed = undisturbed or {}
        self._first_event = len(self._all_events())
        root.mkdir(parents=True, exist_ok=True)
        self._space.write_text(SPACE)

    def submit(self) -> subprocess.Popen[bytes]:
        """Submit it, or go on with it; the process follows the job."""
        self.num_submissions += 1
        command = [sys.executable, "-m", "lkca_search", "submit", str(self._space), *self._overrides]
        command += ["--name", self.name, "--home", str(self.home.root), *self._options]
        command += ["--address", self._rehearsal.cluster.dashboard]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LKCA_", "MLFLOW_", "RAY_"))}
        own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
        with self.log.open("wb") as log:
            return subprocess.Popen(command, env={**kept, **own}, stdout=log, stderr=subprocess.STDOUT)

    def finish(self) -> None:
        """Submit it until it says that all is done."""
        while self.num_submissions < 4:
            if self.submit().wait(WAIT_SECONDS) == 0:
                return
        raise AssertionError(f"not finished after {self.num_submissions} submissions:\n{self.printed()}")

    def wait_for(self, condition: Callable[[], bool], following: subprocess.Popen[bytes]) -> None:
        """Wait for what must come true while the job runs."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert following.poll() is None, self.printed()
            assert time.monotonic() < deadline, self.printed()
            time.sleep(0.1)

    def wait_for_records(self, share: float, following: subprocess.Popen[bytes]) -> None:
        """Wait until so large a share of the trials is finished."""
        self.wait_for(lambda: self.num_finished >= share * len(self.trial_ids), following)

    def move(self, root: Path) -> None:
        """Let it live elsewhere from now on."""
        self.home = Home(root=root)

    def remember(self) -> None:
        """Note which records are durable now."""
        self.durable |= {path: path.read_bytes() for path in self._record_paths()}

    def driver(self) -> psutil.Process:
        """The process that drives it."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                line = process.cmdline()
                if line[1:4] == ["-m", "lkca_search", "run"] and self.name in line:
                    return process
        raise AssertionError(f"no process drives {self.name}")

    def broken(self) -> list[str]:
        """Every invariant that the finished search breaks."""
        return broken_promises(
            self.home,
            self.folder,
            self.events(),
            trial_ids=self.trial_ids | self._replicate_ids(),
            durable=self.durable,
            undisturbed=self._undisturbed,
            tracking_uri=self._rehearsal.server.uri,
        )

    def events(self) -> list[Event]:
        """What workers did for it so far."""
        return self._all_events()[self._first_event :]

    def records(self) -> dict[str, Record]:
        """The records so far, by trial."""
        return {record.trial_id: record for record in read_records(self.folder)}

    @property
    def folder(self) -> SearchFolder:
        """The search's folder, as its home knows it now."""
        return self.home.search(self.name)

    @property
    def num_finished(self) -> int:
        """Trials with a record."""
        return len(self._record_paths())

    @property
    def log(self) -> Path:
        """What the latest submission printed."""
        return self._space.with_name(f"submission-{self.num_submissions}.log")

    def printed(self) -> str:
        """The text of it."""
        return self.log.read_text()

    def _replicate_ids(self) -> set[str]:
        rounds = read_rounds(self.folder)
        return {replicate.replicate_id for sealed in rounds for _, replicate in sealed.replications()}

    def _record_paths(self) -> list[Path]:
        return [Path(str(path)) for path in self.folder.records().values()]

    def _all_events(self) -> list[Event]:
        return read_events(self._rehearsal.events / "events")


def most_at_once(events: Sequence[Event]) -> tuple[int, Counter[tuple[str, str]]]:
    """The most trials that trained at once, in all and on each GPU of each node, by what their workers told."""
    ends = {(event.trial_id, event.attempt): event.time for event in events if event.event == "finish"}
    changes: list[tuple[float, int, tuple[str, str]]] = []
    for event in events:
        end = ends.get((event.trial_id, event.attempt))
        if event.event == "open" and end is not None:
            where = (event.node, event.gpus)
            changes += [(event.time, 1, where), (end, -1, where)]
    running, most, in_all, most_in_all = Counter[tuple[str, str]](), Counter[tuple[str, str]](), 0, 0
    for _, change, where in sorted(changes):
        running[where] += change
        in_all += change
        most[where] = max(most[where], running[where])
        most_in_all = max(most_in_all, in_all)
    return most_in_all, most
