"""What runs on the cluster: an actor that trains one trial after another and says a message a step. Knows no logger."""

import logging
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray import tune

from lkca_search.errors import DataError, NodeError
from lkca_search.paths import parse_path
from lkca_search.records.provenance import node_name
from lkca_search.records.record import Result, TestResult, TrialMetadata
from lkca_search.search.driver.messages import Assignment, Message
from lkca_search.training.assembly import open_training
from lkca_search.training.checkpoints import save_checkpoint
from lkca_search.training.device import choose_device, configure_torch
from lkca_search.training.failures import is_machine_fault
from lkca_search.training.images import DataDirs, open_train_images
from lkca_search.training.loop import Training
from lkca_search.training.testing import evaluate_on_test, open_test_images

_log = logging.getLogger(__name__)


class TrialActor(tune.Trainable):  # type: ignore[misc]  # Ray ships no types
    """Trains the trial that its config assigns. Reused for the next one, it keeps nothing of the last."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take an assignment; the work begins with the first step, where a fault is the trial's own."""
        self._assignment = Assignment.model_validate_json(config["assignment"])
        data_dirs = config["place"]
        self._data_dirs = DataDirs(
            cache=Path(data_dirs["cache"]), data_dir=Path(data_dirs["data_dir"]) if data_dirs["data_dir"] else None
        )
        self._facts: TrialMetadata | None = None
        self._training: Training | None = None
        self._results: Iterator[Result] = iter(())
        self._saved_step = 0
        self._saved_time = time.monotonic()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next assignment."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train to the next report. A fault of the trial is said; one of the machine (disk, memory) is raised."""
        try:
            message = self._next_message()
        except Exception as error:
            if is_machine_fault(error):
                raise
            message = Message(facts=self._facts, error=traceback.format_exc(limit=-8), done=True)
        return {"message": message.model_dump_json(), "done": message.done}

    def _next_message(self) -> Message:
        if self._training is None:
            folders = [parse_path(folder) for folder in self._assignment.earlier_folders]
            self._check_images()
            configure_torch(num_threads=self._assignment.spec.resources.cpu)
            self._facts, self._training = open_training(
                self._assignment.spec,
                self._data_dirs,
                device=choose_device(self._assignment.spec.resources.gpu),
                checkpoints=folders,
            )
            self._check_facts(self._facts)
            self._saved_step = self._training.step
            self._results = self._training.results()
        result = next(self._results)
        done = self._training.is_last(result)
        overdue = time.monotonic() - self._saved_time >= self._assignment.checkpoint_seconds
        if overdue and not done and result.step > self._saved_step:
            self._save(self._training, result.step)
        return Message(facts=self._facts, result=result, test=self._test(self._training) if done else None, done=done)

    def _test(self, training: Training) -> TestResult | None:
        """Evaluate a replicate on the test images, now that nothing else can be done to it; None for a trial."""
        if self._assignment.test_hash is None:
            return None
        try:
            images = open_test_images(self._assignment.spec.data, self._data_dirs)
        except DataError as error:
            raise NodeError(f"node {node_name()} cannot have the test images: {error}") from error
        self._check("test images", self._assignment.test_hash, images.content_hash)
        return evaluate_on_test(training, images, device=choose_device(self._assignment.spec.resources.gpu))

    def _save(self, training: Training, step: int) -> None:
        try:
            save_checkpoint(training.state(), parse_path(self._assignment.attempt_folder), step=step)
        except OSError as error:  # it is an insurance: a storage that is full or away for a while costs no trial
            _log.warning("no checkpoint of %s at step %s: %s", self._assignment.trial_id, step, error)
        else:
            self._saved_step = step
        self._saved_time = time.monotonic()

    def _check_images(self) -> None:
        """Open the images: the driver could, so what is wrong is this node."""
        try:
            open_train_images(self._assignment.spec.data, self._data_dirs)
        except DataError as error:
            raise NodeError(f"node {node_name()} cannot have the images: {error}") from error

    def _check_facts(self, facts: TrialMetadata) -> None:
        for name in ("data_hash", "subset_hash"):
            self._check(name, getattr(self._assignment, name), getattr(facts, name))

    def _check(self, name: str, expected: str | None, found: str) -> None:
        if expected not in (None, found):
            node = f"node {node_name()} has other images than the driver"
            raise NodeError(f"{node}: {name} {found}, in the manifest {expected}")
