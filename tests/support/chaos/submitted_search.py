"""A small search submitted to a cluster of two nodes on this machine, for tests that inject faults."""

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
from tests.support.chaos.harness import INJECTION
from tests.support.chaos.invariants import Event, broken_invariants, read_events
from tests.support.processes import WAIT_SECONDS
from tests.support.search.command_line import CELLS, SPACE

TOKEN = "5" * 64
NODE = {"num_cpus": 4, "num_gpus": 2}
"""Declared resources of each node: room for four trials at half a GPU."""
_OVERRIDES = ("search.sampler=random", "training.steps=200", "training.reports=10", "resources.gpu=0.5")
"""Suggestions that do not depend on earlier results, and trials long enough to be hit by a fault."""


class Rehearsal:
    """A cluster, an MLflow server, and the folder where workers write events."""

    def __init__(self, root: Path, *, nodes: Sequence[Mapping[str, int]] = (NODE, NODE)) -> None:
        """Start everything; `nodes` is what each node declares, the head first."""
        self._nodes = nodes
        self.events = root / "events"
        self.events.mkdir(parents=True)
        self.server = MLflowServer(root / "mlflow")
        self.server.start()
        self.cluster = self._start()

    def replace_cluster(self) -> None:
        """Remove the cluster with all its disks and start another at other addresses."""
        self.cluster.close()
        self.cluster = self._start()

    def close(self) -> None:
        """Stop the cluster and the server."""
        self.cluster.close()
        self.server.kill()

    def _start(self) -> LocalCluster:
        variables = {
            "PYTHONPATH": str(INJECTION),
            "CHAOS_FOLDER": str(self.events),
            "MLFLOW_TRACKING_URI": self.server.uri,
        }
        head, *others = self._nodes
        cluster = LocalCluster(**head, token=TOKEN, environment=variables)
        for node in others:
            cluster.add_node(**node)
        return cluster


@contextmanager
def rehearsal(root: Path, *, nodes: Sequence[Mapping[str, int]] = (NODE, NODE)) -> Iterator[Rehearsal]:
    """Run a cluster and an MLflow server."""
    running = Rehearsal(root, nodes=nodes)
    try:
        yield running
    finally:
        running.close()


class SubmittedSearch:
    """One search under its own name, and the commands of its submitter."""

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
        """Write the space file.

        Args:
            rehearsal: Cluster and MLflow server.
            root: Folder of the submitter.
            name: Name of the search.
            home: Home of the search; by default below `root`.
            trials_per_cell: Budget of each cell.
            overrides: Overrides of the space file.
            options: Options of `submit`.
            undisturbed: Records of the same search without faults.
        """
        self.name = name
        self.home = Home(root=home or root / "home")
        self.num_submissions = 0
        self.trial_ids = {f"{cell}/{number}" for cell in CELLS for number in range(trials_per_cell)}
        self.durable: dict[Path, bytes] = {}
        """Records that were durable when a fault was injected."""
        self._rehearsal = rehearsal
        self._space = root / "toy.yaml"
        self._overrides = [*_OVERRIDES, f"search.trials_per_cell={trials_per_cell}", *overrides]
        self._options = options
        self._undisturbed = undisturbed or {}
        self._first_event = len(self._all_events())
        root.mkdir(parents=True, exist_ok=True)
        self._space.write_text(SPACE)

    def submit(self) -> subprocess.Popen[bytes]:
        """Submit or resume the search, and return the process that follows the job."""
        self.num_submissions += 1
        command = [sys.executable, "-m", "lkca_search", "submit", str(self._space), *self._overrides]
        command += ["--name", self.name, "--home", str(self.home.root), *self._options]
        command += ["--address", self._rehearsal.cluster.dashboard]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LKCA_", "MLFLOW_", "RAY_"))}
        own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
        with self.log.open("wb") as log:
            return subprocess.Popen(command, env={**kept, **own}, stdout=log, stderr=subprocess.STDOUT)

    def finish(self) -> None:
        """Submit the search until it is complete."""
        while self.num_submissions < 4:
            if self.submit().wait(WAIT_SECONDS) == 0:
                return
        raise AssertionError(f"not finished after {self.num_submissions} submissions:\n{self.printed()}")

    def wait_for(self, condition: Callable[[], bool], following: subprocess.Popen[bytes]) -> None:
        """Wait until a condition holds. Fail if the job ends before."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert following.poll() is None, self.printed()
            assert time.monotonic() < deadline, self.printed()
            time.sleep(0.1)

    def wait_for_records(self, share: float, following: subprocess.Popen[bytes]) -> None:
        """Wait until this share of the trials is finished."""
        self.wait_for(lambda: self.num_finished >= share * len(self.trial_ids), following)

    def move(self, root: Path) -> None:
        """Use another home from now on."""
        self.home = Home(root=root)

    def remember(self) -> None:
        """Store the records that are durable now."""
        self.durable |= {path: path.read_bytes() for path in self._record_paths()}

    def driver(self) -> psutil.Process:
        """Return the driver's process."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                line = process.cmdline()
                if line[1:4] == ["-m", "lkca_search", "run"] and self.name in line:
                    return process
        raise AssertionError(f"no process drives {self.name}")

    def broken(self) -> list[str]:
        """Return every invariant that the finished search breaks."""
        return broken_invariants(
            self.home,
            self.folder,
            self.events(),
            trial_ids=self.trial_ids | self._replicate_ids(),
            durable=self.durable,
            undisturbed=self._undisturbed,
            tracking_uri=self._rehearsal.server.uri,
        )

    def events(self) -> list[Event]:
        """Return the events of its workers so far."""
        return self._all_events()[self._first_event :]

    def records(self) -> dict[str, Record]:
        """Return the records so far, by trial id."""
        return {record.trial_id: record for record in read_records(self.folder)}

    @property
    def folder(self) -> SearchFolder:
        """Folder of the search in its current home."""
        return self.home.search(self.name)

    @property
    def num_finished(self) -> int:
        """Number of trials with a record."""
        return len(self._record_paths())

    @property
    def log(self) -> Path:
        """Output of the latest submission."""
        return self._space.with_name(f"submission-{self.num_submissions}.log")

    def printed(self) -> str:
        """Return the text of the log."""
        return self.log.read_text()

    def _replicate_ids(self) -> set[str]:
        rounds = read_rounds(self.folder)
        return {replicate.replicate_id for sealed in rounds for _, replicate in sealed.replications()}

    def _record_paths(self) -> list[Path]:
        return [Path(str(path)) for path in self.folder.records().values()]

    def _all_events(self) -> list[Event]:
        return read_events(self._rehearsal.events / "events")


def most_at_once(events: Sequence[Event]) -> tuple[int, Counter[tuple[str, str]]]:
    """Return the highest number of trials that trained at once: overall, and per GPU of each node."""
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
