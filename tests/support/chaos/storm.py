"""Storm on several searches of one home: kills of every kind of process and damages of every kind of file."""

import math
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from lkca_search.records.record import Record
from tests.support.chaos.damage import AT_REST, FILES, Damage, damage_file
from tests.support.chaos.harness import ChaosSearch

HANG_SECONDS = 60
"""Time after which a command without progress counts as hanging."""
READERS = (("status", "{}"), ("status", "{}", "--json"), ("list",), ("best", "{}"), ("export", "{}"), ("report", "{}"))
"""Commands that run between the attacks."""
_VICTIMS = {
    "driver": (None, signal.SIGKILL),
    "worker": ("ray::", signal.SIGKILL),
    "raylet": ("raylet", signal.SIGKILL),
    "frozen raylet": ("raylet", signal.SIGSTOP),
    "GCS": ("gcs_server", signal.SIGKILL),
}
"""Kinds of victims: start of a process's name or title, and the signal. The driver is the process itself."""
_WEIGHTS = (6, 4, 1, 1, 1)
_TRIALS_PER_CELL = 4
"""Budget of each cell at the start."""
_FINISH_SECONDS = 1800
_START_SECONDS, _TRAINING_SECONDS = 20.0, 6.0
"""Longest time from the start of a driver, or from an event of a worker, to an attack."""


@dataclass(kw_only=True)
class Siege:
    """Attacks on one search, and the faults that they brought to light."""

    search: ChaosSearch
    generator: random.Random
    trials_per_cell: int
    kills: Counter[str] = field(default_factory=Counter)
    damages: list[Damage] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    slowest: float = 0.0
    """Longest time of a command, or of a driver without progress after an attack, in seconds."""
    _driver: subprocess.Popen[bytes] | None = None

    def suffer(self, num_kills: int, num_damages: int, *, deadline: float = math.inf) -> None:
        """Run and attack the search until a time of `time.monotonic`, then run it to its end."""
        attacks = ["kill"] * num_kills + ["damage"] * num_damages
        self.generator.shuffle(attacks)
        while attacks and time.monotonic() < deadline:
            self._wait(self._ensure_driver())
            attack = self._kill if attacks[0] == "kill" else self._damage
            if attack():
                attacks.pop(0)
            self._read()
        self._end_driver()
        self.search.override(search__trials_per_cell=str(self.trials_per_cell))
        try:
            self.search.finish(timeout=_FINISH_SECONDS)
        except AssertionError as error:
            self.problems.append(str(error))
            return
        self._check_output(self.search.printed(), "the last driver")

    def check(self, undisturbed: Mapping[str, Record]) -> None:
        """Collect every invariant that the finished search breaks, compared with the same search without attacks."""
        self.problems += self.search.broken(
            trials_per_cell=self.trials_per_cell, damaged=self.damages, undisturbed=undisturbed
        )

    def _ensure_driver(self) -> subprocess.Popen[bytes]:
        """Return the running driver. A complete search gets one more trial per cell."""
        if self._driver is not None and self._driver.poll() is None:
            return self._driver
        if self._driver is not None:
            self._check_end(self._driver.returncode)
            if self._driver.returncode == 0:
                self.trials_per_cell += 1
                self.search.override(search__trials_per_cell=str(self.trials_per_cell))
        self._driver = self.search.start()
        return self._driver

    def _wait(self, driver: subprocess.Popen[bytes]) -> None:
        """Wait for a random time: half of the times from the start of the driver, else from its next event."""
        if self.generator.random() < 0.5:
            time.sleep(self.generator.uniform(0, _START_SECONDS))
            return
        size, begun = self._event_bytes(), time.monotonic()
        while driver.poll() is None and self._event_bytes() == size and time.monotonic() - begun < HANG_SECONDS:
            time.sleep(0.05)
        time.sleep(self.generator.uniform(0, _TRAINING_SECONDS))

    def _kill(self) -> bool:
        """Kill a random process; return False if it ended before."""
        driver = self._ensure_driver()
        (victim,) = self.generator.choices(tuple(_VICTIMS), weights=_WEIGHTS)
        name, number = _VICTIMS[victim]
        processes = [process for process in self.search.processes() if name and _is_named(process, name)]
        if not processes:
            victim, processes, number = "driver", [psutil.Process(driver.pid)], signal.SIGKILL
        size = self._event_bytes()
        try:
            self.generator.choice(processes).send_signal(number)
        except psutil.NoSuchProcess:
            return False
        self.kills[victim] += 1
        begun = time.monotonic()
        while driver.poll() is None and self._event_bytes() == size:
            if time.monotonic() - begun > HANG_SECONDS:
                self.problems.append(f"{victim} killed: no progress and no end within {HANG_SECONDS} s")
                self._end_driver()
            time.sleep(0.1)
        self.slowest = max(self.slowest, time.monotonic() - begun)
        self.search.remember()
        return True

    def _damage(self) -> bool:
        """Damage a random file; return False if the search has none yet."""
        file = self.generator.choice(tuple(FILES))
        if file in AT_REST or self.generator.random() < 0.5:
            self._end_driver()
        self.search.remember()
        backup = self.search.root / "backup.db"
        damage = damage_file(self.search.folder, file, self.generator, backup=backup)
        if damage is None:  # the search has no such file yet
            self._end_driver()
            damage = damage_file(self.search.folder, "ledger", self.generator, backup=backup)
        elif file != "ledger" and self.generator.random() < 0.3:
            _copy_database(self.search.folder.root / "ledger.db", backup)
        if damage is None:
            return False
        self.damages.append(damage)
        return True

    def _end_driver(self) -> None:
        """End the driver as SIGTERM does."""
        if self._driver is None or self._driver.poll() is not None:
            return
        self._driver.terminate()
        try:
            self._driver.wait(HANG_SECONDS)
        except subprocess.TimeoutExpired:
            self.problems.append(f"SIGTERM did not end the driver within {HANG_SECONDS} s")
            self._driver.kill()
            self._driver.wait()

    def _read(self) -> None:
        arguments = [part.format(self.search.folder.name) for part in self.generator.choice(READERS)]
        begun = time.monotonic()
        try:
            code, printed = self.search.call(*arguments, timeout=HANG_SECONDS)
        except subprocess.TimeoutExpired:
            self.problems.append(f"{' '.join(arguments)} did not end within {HANG_SECONDS} s")
            return
        self.slowest = max(self.slowest, time.monotonic() - begun)
        self._check_output(printed, " ".join(arguments))
        if code not in (0, 1, 2):
            self.problems.append(f"{' '.join(arguments)} ended with {code}: {printed[-500:]}")

    def _check_end(self, code: int) -> None:
        self._check_output(self.search.printed(), f"driver {self.search.num_drivers}")
        if code not in (0, 1, -signal.SIGKILL, -signal.SIGTERM):
            self.problems.append(f"driver {self.search.num_drivers} ended with {code}: {self.search.printed()[-800:]}")

    def _check_output(self, printed: str, source: str) -> None:
        if "Traceback (most recent call last)" in printed:
            self.problems.append(f"{source} printed a traceback: {printed[-2000:]}")

    def _event_bytes(self) -> int:
        events = self.search.root / "events"
        return events.stat().st_size if events.exists() else 0


def suffer_storm(
    root: Path, *, seed: int, num_searches: int, num_kills: int, num_damages: int, minutes: float = math.inf
) -> list[Siege]:
    """Run several searches of one home at once under random kills and damages; return what each suffered.

    The attacks end after `minutes`, even if some are left.
    The first search has a confirmation, and is compared with the same search without attacks.
    """
    sieges = [
        Siege(
            search=_open_search(root / f"storm-{number}", number, home=root / "home", trials_per_cell=_TRIALS_PER_CELL),
            generator=random.Random(f"{seed} {number}"),
            trials_per_cell=_TRIALS_PER_CELL,
        )
        for number in range(num_searches)
    ]
    with ThreadPoolExecutor(num_searches) as pool:
        shares = [
            (_share(num_kills, num_searches, i), _share(num_damages, num_searches, i)) for i in range(num_searches)
        ]
        deadline = time.monotonic() + 60 * minutes
        for future in [
            pool.submit(siege.suffer, *share, deadline=deadline) for siege, share in zip(sieges, shares, strict=True)
        ]:
            future.result()
    with _open_search(root / "twin", 0, home=root / "home-of-twin", trials_per_cell=sieges[0].trials_per_cell) as twin:
        twin.finish(timeout=_FINISH_SECONDS)
        for siege in sieges:
            with siege.search:  # kills what is left
                siege.check(twin.records() if siege is sieges[0] else {})
    return sieges


def _open_search(root: Path, number: int, *, home: Path, trials_per_cell: int) -> ChaosSearch:
    confirms = {"confirm__draws": "2", "confirm__seeds": "1"} if number == 0 else {}
    return ChaosSearch(
        root,
        home=home,
        name=f"storm-{number}",
        search__sampler="random",
        search__seed=str(number),
        search__max_retries="100",
        search__trials_per_cell=str(trials_per_cell),
        training__steps="200",
        training__reports="10",
        **confirms,
    )


def _share(total: int, count: int, index: int) -> int:
    return total // count + (index < total % count)


def _copy_database(source: Path, target: Path) -> None:
    try:
        with closing(sqlite3.connect(source)) as connection, closing(sqlite3.connect(target)) as copy:
            connection.backup(copy)
    except sqlite3.Error:
        target.unlink(missing_ok=True)


def _is_named(process: psutil.Process, name: str) -> bool:
    try:
        title = " ".join(process.cmdline()) if name == "ray::" else process.name()
    except psutil.Error:
        return False
    return "Trainable" in title or "TrialActor" in title if name == "ray::" else title.startswith(name)
