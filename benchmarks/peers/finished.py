"""Finished trials that a contestant hands back, one line of JSON each."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "finished.jsonl"


@dataclass(frozen=True, kw_only=True)
class Finished:
    """Finished trial."""

    family: str
    accuracy: float
    """Validation accuracy after the last epoch."""
    ended: float
    """Unix time."""

    def append(self, folder: str | Path) -> None:
        """Append the trial to the file of its contestant: one short line, which several processes can write."""
        with (Path(folder) / FILE).open("a") as file:
            file.write(json.dumps(asdict(self)) + "\n")


def read_finished(folder: str | Path) -> list[Finished]:
    """Return the finished trials of a contestant in order of time."""
    lines = (Path(folder) / FILE).read_text().splitlines()
    return sorted((Finished(**json.loads(line)) for line in lines), key=lambda trial: trial.ended)
