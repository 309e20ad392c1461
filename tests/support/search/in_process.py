"""A search and its confirmation with the real queues and the real worker in one process, without Ray."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lkca_search.data.store import Images, open_images
from lkca_search.layout import Home, SearchFolder
from lkca_search.records.record import read_records
from lkca_search.records.rounds import read_rounds
from lkca_search.search.driver.confirmation import Confirmation
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Message
from lkca_search.search.driver.queue import TrialQueue
from lkca_search.search.driver.rounds import open_round
from lkca_search.search.ray_backend.worker import TrialActor
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import ConfirmSection
from lkca_search.tracking.tracker import Tracker


class InProcessSearch:
    """Search on the bundled digits, with one worker in this process."""

    def __init__(self, home: Path, name: str, spec: SearchSpec, *, driver: int = 1) -> None:
        """Open the images; `driver` is the number of the driver."""
        self.folder: SearchFolder = Home(root=home).search(name)
        self._spec = spec
        self._driver = driver
        self._cache = home / "datasets"
        self._actor: TrialActor | None = None

    def search(self) -> Iterator[float]:
        """Train all trials, and yield the seconds of each until its record is durable."""
        images = self._images("train")
        self.folder.root.mkdir(parents=True, exist_ok=True)
        shape, num_classes = images.shape, len(images.class_names)
        yield from self._train(Ledger(self.folder, self._spec, shape, num_classes, Tracker(), driver=self._driver))

    def confirm(self, section: ConfirmSection) -> Iterator[float]:
        """Train and test the replicates of a round, which is sealed if there is none, as `search` does."""
        sealed = next(iter(read_rounds(self.folder)), None) or open_round(
            self.folder,
            self._spec,
            section,
            read_records(self.folder),
            test_hashes={None: self._images("test").content_hash},
            num_trials_left=0,
        )
        yield from self._train(Confirmation(self.folder, self._spec, sealed, Tracker(), driver=self._driver))

    def _train(self, queue: TrialQueue) -> Iterator[float]:
        while queue.num_left:
            begun = time.perf_counter()
            assignment = queue.assign()
            assert assignment is not None
            actor = self._open({"assignment": assignment.model_dump_json()})
            done = False
            while not done:
                message = Message.model_validate_json(actor.step()["message"])
                assert message.failure is None, message.failure
                queue.on_message(assignment.trial_id, message)
                done = message.done
            queue.finish(assignment.trial_id)
            yield time.perf_counter() - begun

    def _open(self, config: dict[str, Any]) -> TrialActor:
        config["data_dirs"] = {"cache": str(self._cache), "data_dir": None}
        if self._actor is None:
            self._actor = TrialActor(config=config)
        else:
            self._actor.reset_config(config)
        return self._actor

    def _images(self, split: Any) -> Images:
        return open_images("digits", split, cache=self._cache)


def make_spec(weights: str, *, parameters: int = 2_890, steps: int = 10, trials: int = 2) -> SearchSpec:
    """Return a search of one cell with a value of `keep.weights`, and models of a size."""
    return SearchSpec.model_validate(
        {
            "data": {"dataset": "digits"},
            "factors": {"family": ("lkca",)},
            "parameters": {
                "match_parameters": {"value": parameters},
                "learning_rate": {"float": (1e-3, 1e-2), "log": True},
                "patch_size": {"value": 2},
                "kernel_size": {"value": 5},
                "depth": {"value": 3},
            },
            "training": {"steps": steps, "reports": 2},
            "search": {
                "trials_per_cell": trials,
                "sampler": "random",
                "checkpoint_seconds": 1e9 * (trials == 1),
            },
            "keep": {"weights": weights},
        }
    )


def drive(home: Path, weights: str, *, driver: int) -> None:
    """Complete a search and its confirmation, as driver number `driver`."""
    searching = InProcessSearch(home, "toy", make_spec(weights), driver=driver)
    for _ in (*searching.search(), *searching.confirm(ConfirmSection(draws=2, seeds=1))):
        pass


def drive_with_kills(home: Path, weights: str, points: Sequence[str]) -> None:
    """Start a driver per point, which is killed there, and a last one without; print the exit code of each.

    Each driver is a fork of this process, which has imported everything and trained nothing.
    """
    for driver, point in enumerate((*points, ""), start=1):
        pid = os.fork()
        if pid == 0:
            os.environ["CHAOS_CRASH"] = point
            os.environ["CHAOS_CRASHED"] = str(home / "chaos" / f"driver-{driver}.crashed")
            drive(home, weights, driver=driver)
            os.execv("/bin/true", ["true"])  # an end without the cleanup of this process
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    drive_with_kills(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
