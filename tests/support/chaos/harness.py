"""A small search on a real local Ray cluster that can be killed at any point or time, and then resumed."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import psutil

from lkca_search.layout import Home
from lkca_search.records.record import Record, read_records, read_replicates
from lkca_search.records.rounds import read_rounds
from tests.support.chaos.damage import Damage
from tests.support.chaos.invariants import Event, broken_invariants, left_behind, read_events
from tests.support.processes import WAIT_SECONDS
from tests.support.search.command_line import CELLS, COMMAND, SPACE

POINTS = (
    *("before:ask:3", "inside:ask:3", "before:suggestion:3", "after:ask:3"),
    *("before:report:6", "after:report:6"),
    *("before:checkpoint:2", "inside:checkpoint:2", "after:checkpoint:2"),
    *("before:weights:2", "inside:weights:2", "inside:weights:3", "after:weights:2"),
    *("before:record:2", "inside:record:2", "after:record:2"),
    *("before:tell:2", "after:tell:2"),
    *("before:projection:2", "after:projection:2"),
    *("before:sending:2", "inside:sending:2", "after:sending:2"),
)
"""Points of a kill, each with the number of the visit.

`sending` is in the MLflow thread, those of WORKER_POINTS are in a worker, all others in the driver. A confirmation also
has the points `round` in the driver and `predictions` in a worker. `weights` is visited inside twice per model, for the
weights and for their description; trials keep models with `keep.weights: best` only.
"""

INJECTION = Path(__file__).parent / "inject"
"""Folder of the `sitecustomize` that logs events and kills processes."""

WORKER_POINTS = ("checkpoint", "predictions", "weights")
"""Points in a worker."""
_TRIALS_PER_CELL = 2
_MAX_DRIVERS = 4
_MARK = "CHAOS_FOLDER"


class ChaosSearch:
    """One search. On exit, the context manager kills every process of the search."""

    def __init__(
        self,
        root: Path,
        *,
        home: Path | None = None,
        name: str = "toy",
        undisturbed: Mapping[str, Record] | None = None,
        **overrides: str,
    ) -> None:
        """Write the space file.

        Args:
            root: Folder of the space file, the logs and the events; each search has its own.
            home: Home of the search; by default `root`.
            name: Name of the search.
            undisturbed: Records of the same search without kills.
            overrides: Overrides of the space file, with `__` for a dot.
        """
        self.root = root
        self.home = Home(root=home or root)
        self.folder = self.home.search(name)
        self.num_drivers = 0
        self._undisturbed = undisturbed or {}
        self._overrides = [f"{name.replace('__', '.')}={value}" for name, value in overrides.items()]
        self._durable: dict[Path, bytes] = {}
        root.mkdir(parents=True)
        (root / f"{name}.yaml").write_text(SPACE)

    def __enter__(self) -> "ChaosSearch":
        return self

    def __exit__(self, *exception: object) -> None:
        left = list(self.processes())
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        psutil.wait_procs(left, timeout=10)

    def start(self, *, crash: str = "", victim: str = "") -> subprocess.Popen[bytes]:
        """Start a driver, with a point of a kill if one is given."""
        self.num_drivers += 1
        environment = {**self._environment(), "CHAOS_CRASH": crash, "CHAOS_VICTIM": victim}
        environment["CHAOS_CRASHED"] = str(self._crashed(self.num_drivers))
        command = [*COMMAND, "run", str(self.root / f"{self.folder.name}.yaml"), "--num-cpus", "2", *self._overrides]
        with self._log(self.num_drivers).open("wb") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def call(self, *arguments: str, timeout: float) -> tuple[int, str]:
        """Run another command to its end; return its exit code and all that it printed."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        return done.returncode, done.stdout

    def override(self, **overrides: str) -> None:
        """Add overrides of the space file for all later drivers, with `__` for a dot."""
        self._overrides += [f"{name.replace('__', '.')}={value}" for name, value in overrides.items()]

    def crash(self, point: str, *, victim: str = "") -> None:
        """Run until a process was killed at a point and the driver has ended."""
        driver = self.start(crash=point, victim=victim)
        code = driver.wait(WAIT_SECONDS)
        self.remember()
        crashed = self._crashed(self.num_drivers)
        assert crashed.exists(), f"{point} was not reached:\n{self.printed()}"
        assert crashed.read_text() == point
        dies = victim == "driver" or point.split(":")[1] not in WORKER_POINTS
        assert code == (-signal.SIGKILL if dies else 0), self.printed()

    def kill_at(self, seconds: float, *, of_training: bool) -> bool:
        """Kill a driver some seconds after its start or its first trial; return False if it ended before."""
        driver = self.start()
        while of_training and driver.poll() is None and not self.folder.trials.exists():
            time.sleep(0.01)
        try:
            driver.wait(seconds)
        except subprocess.TimeoutExpired:
            driver.kill()
        code = driver.wait()
        self.remember()
        return code == -signal.SIGKILL

    def kill_workers(self, count: int, generator: random.Random) -> list[float]:
        """Run a driver to its end and kill `count` of its workers; return the time of each kill, in seconds."""
        driver, begun, moments = self.start(), time.monotonic(), []
        deadline = begun + WAIT_SECONDS
        while driver.poll() is None and time.monotonic() < deadline:
            time.sleep(generator.uniform(0.0, 2.0))
            workers = [process for process in self.processes() if "Trainable" in _title(process)]
            if (
                len(moments) % 2
            ):  # every second kill hits a worker that trains: workers spend most of their time starting up
                trained = {event.pid for event in self.events() if event.event in ("start", "resume")}
                workers = [process for process in workers if process.pid in trained]
            if workers and len(moments) < count:
                generator.choice(workers).kill()
                moments.append(round(time.monotonic() - begun, 1))
        assert driver.wait(WAIT_SECONDS) == 0, self.printed()
        return moments

    def finish(self, *, timeout: float = WAIT_SECONDS) -> None:
        """Run the same command until the search is complete; each driver may take `timeout` seconds."""
        for _ in range(_MAX_DRIVERS):
            if self.start().wait(timeout) == 0:
                return
        raise AssertionError(f"not finished after {self.num_drivers} drivers:\n{self.printed()}")

    def broken(
        self,
        *,
        trials_per_cell: int = _TRIALS_PER_CELL,
        damaged: Collection[Damage] = (),
        undisturbed: Mapping[str, Record] | None = None,
    ) -> list[str]:
        """Return every invariant that the finished search breaks.

        Args:
            trials_per_cell: Final budget of each cell.
            damaged: Files that were damaged on purpose.
            undisturbed: Records of the same search without kills; by default those given at the start.
        """
        trial_ids = {f"{cell}/{number}" for cell in CELLS for number in range(trials_per_cell)}
        trial_ids |= {
            replicate.replicate_id for sealed in read_rounds(self.folder) for _, replicate in sealed.replications()
        }
        damaged_paths = {damage.path for damage in damaged}
        return broken_invariants(
            self.home,
            self.folder,
            self.events(),
            trial_ids=trial_ids,
            durable={path: content for path, content in self._durable.items() if path not in damaged_paths},
            undisturbed=self._undisturbed if undisturbed is None else undisturbed,
            damaged=damaged_paths,
        )

    def events(self) -> list[Event]:
        """Return the events of workers so far."""
        return read_events(self.root / "events")

    def records(self) -> dict[str, Record]:
        """Return the records of trials and replicates so far, by id."""
        return {record.trial_id: record for record in (*read_records(self.folder), *read_replicates(self.folder))}

    def resumed_steps(self) -> list[int]:
        """Return the steps at which trials were resumed."""
        return [event.step for event in self.events() if event.event == "resume"]

    def num_durable(self) -> int:
        """Return the number of records that were durable at a kill."""
        return len(self._durable)

    def num_left_behind(self) -> int:
        """Return the number of files without further use."""
        return left_behind(self.folder)

    def printed(self) -> str:
        """Return the output of the latest driver."""
        return self._log(self.num_drivers).read_text()

    def processes(self) -> Iterator[psutil.Process]:
        """Yield every process of this search: drivers and their descendants, also orphaned ones."""
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == str(self.root):
                    yield process
            except (psutil.Error, OSError):
                continue

    def _environment(self) -> dict[str, str]:
        """Return the variables of every command: no other store, and the event log."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "CHAOS_"))}
        environment.pop("RAY_ADDRESS", None)
        return environment | {
            "LKCA_SEARCH_HOME": str(self.home.root),
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(INJECTION), os.environ.get("PYTHONPATH")))),
            _MARK: str(self.root),
        }

    def remember(self) -> None:
        """Remember the content of every record so far: none may be lost or rewritten."""
        paths: Iterable[Path] = self.folder.trials.rglob("attempt-*/record.json")
        self._durable |= {path: path.read_bytes() for path in paths}

    def _log(self, driver: int) -> Path:
        return self.root / f"driver-{driver}.log"

    def _crashed(self, driver: int) -> Path:
        return self.root / f"driver-{driver}.crashed"


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
