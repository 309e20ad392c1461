"""What runs on the cluster: an actor that trains one trial after another and says a message a step. Knows no logger."""

import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray import tune

from lkca_search.records import Facts, Result
from lkca_search.search.ledger import Assignment, Message
from lkca_search.training.assembly import DataPlace, choose_device, open_training
from lkca_search.training.checkpoint import save_checkpoint
from lkca_search.training.faults import is_of_the_machine
from lkca_search.training.loop import Training


class TrialActor(tune.Trainable):  # type: ignore[misc]  # Ray ships no types
    """Trains the trial that its config assigns. Reused for the next one, it keeps nothing of the last."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take an assignment; the work begins with the first step, where a fault is the trial's own."""
        self._assignment = Assignment.model_validate_json(config["assignment"])
        place = config["place"]
        self._place = DataPlace(
            cache=Path(place["cache"]), data_dir=Path(place["data_dir"]) if place["data_dir"] else None
        )
        self._facts: Facts | None = None
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
            if is_of_the_machine(error):
                raise
            message = Message(facts=self._facts, error=traceback.format_exc(limit=-8), done=True)
        return {"message": message.model_dump_json(), "done": message.done}

    def _next_message(self) -> Message:
        if self._training is None:
            folders = [Path(folder) for folder in self._assignment.earlier_folders]
            self._facts, self._training = open_training(
                self._assignment.spec,
                self._place,
                device=choose_device(self._assignment.spec.resources.gpu),
                checkpoints=folders,
            )
            self._saved_step = self._training.step
            self._results = self._training.results()
        result = next(self._results)
        done = self._training.is_last(result)
        overdue = time.monotonic() - self._saved_time >= self._assignment.checkpoint_seconds
        if overdue and not done and result.step > self._saved_step:
            folder = Path(self._assignment.attempt_folder)
            save_checkpoint(self._training.state(), folder, step=result.step)
            self._saved_step, self._saved_time = result.step, time.monotonic()
        return Message(facts=self._facts, result=result, done=done)
