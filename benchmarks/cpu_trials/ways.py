"""Processes of all settings, seen from their parent: they take turns, and their medians count."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks.cpu_trials.server import BATCH, STEPS


class Way:
    """Process that trains with one setting, seen from the parent."""

    def __init__(self, setting: str, *, threads: int = 1, environment: Mapping[str, str] | None = None) -> None:
        self.setting = setting
        command = [sys.executable, "-m", "benchmarks.cpu_trials", "--serve", setting, "--threads", str(threads)]
        variables = {**os.environ, **(environment or {})}
        self._process = subprocess.Popen(
            command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def send(self, request: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def ask(self, request: object) -> dict[str, Any]:
        self.send(request)
        return self.receive()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def ways(settings: Mapping[str, Mapping[str, str]], *, threads: int = 1) -> Iterator[list[Way]]:
    """Start a process per setting, given the variables of its environment."""
    with ExitStack() as stack:
        started = []
        for name, variables in settings.items():
            way = Way(name, threads=threads, environment=variables)
            stack.callback(way.close)
            started.append(way)
        yield started


def medians(turns: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the median of every figure."""
    return {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}


def alternate(started: Sequence[Way], family: str, size: str, seconds: float) -> dict[str, dict[str, Any]]:
    """Return the figures of each way, which take turns."""
    described = {way.setting: way.ask((family, size, way.setting)) for way in started}
    turns: dict[str, list[dict[str, Any]]] = {way.setting: [] for way in started}
    spent = 0.0
    while spent < seconds * len(started) or len(turns[started[0].setting]) < 3:
        for way in started if len(turns[started[0].setting]) % 2 == 0 else reversed(started):
            turn = way.ask(None)
            turns[way.setting].append(turn)
            spent += turn["wall"] * STEPS * BATCH
    return {setting: {**described[setting], **medians(turns[setting])} for setting in turns}
