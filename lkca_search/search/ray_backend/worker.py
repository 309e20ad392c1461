"""Worker on the cluster: a Ray actor that trains one trial after another and sends one message per report.

It writes only checkpoints and the files beside a record: kept models, and the test predictions and inspections of
replicates. Records, studies and trackers are updated by the driver.
"""

import functools
import logging
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray import tune

from lkca_search.data.store import Images
from lkca_search.errors import DataError, NodeError, StorageError
from lkca_search.faults import first_line, storage_faults
from lkca_search.own_code import import_from, other_code
from lkca_search.paths import parse_path
from lkca_search.records.inspection.inspection_file import save_inspection
from lkca_search.records.objectives import measure
from lkca_search.records.predictions import save_predictions
from lkca_search.records.provenance import node_name, write_environment
from lkca_search.records.record import Result, TestResult, TrialMetadata
from lkca_search.records.trial import TrialSpec
from lkca_search.search.driver.messages import Assignment, Failure, FailureKind, KeepRequest, Message
from lkca_search.search.ray_backend.locations import own_location
from lkca_search.spec.metrics import find_metric, name_of
from lkca_search.spec.sections import DataSection
from lkca_search.training.assembly import open_training
from lkca_search.training.backends.choice import write_backends
from lkca_search.training.checkpoints import save_checkpoint
from lkca_search.training.device import choose_device, configure_torch
from lkca_search.training.faults import is_gpu_fault, is_gpu_out_of_memory, is_machine_fault, is_usable
from lkca_search.training.images import DataDirs, open_train_images
from lkca_search.training.inspection.replicate import inspect_replicate
from lkca_search.training.loop import Training
from lkca_search.training.testing import evaluate_on_test, open_test_images
from lkca_search.training.trained_model import describe_model, save_model
from lkca_search.training.weights_hash import weights_hash

_MAX_OPEN_SPLITS = 16
"""Maximum number of splits that a worker keeps open. Their pixels are mapped, so an open split takes little memory."""
_log = logging.getLogger(__name__)


class TrialActor(tune.Trainable):  # type: ignore[misc]  # Ray ships no types
    """Trainer of the trial assigned in its config. A reused actor keeps no state of its previous trial."""

    def setup(self, config: dict[str, Any]) -> None:
        """Read the assignment. Data and model are opened in the first step, so that their errors are reported."""
        self._assignment = Assignment.model_validate_json(config["assignment"])
        folders, own_code = config["data_dirs"], config.get("own_code", {"folders": (), "modules": {}})
        import_from(*map(Path, own_code["folders"]))
        self._modules: dict[str, str] = own_code["modules"]
        self._data_dirs = DataDirs(
            cache=Path(folders["cache"]), data_dir=Path(folders["data_dir"]) if folders["data_dir"] else None
        )
        self._origin: dict[str, str] = config.get("origin", {})
        self._metadata: TrialMetadata | None = None
        self._training: Training | None = None
        self._results: Iterator[Result] = iter(())
        self._saved_step = 0
        self._saved_time = time.monotonic()
        self._fatal: Exception | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Read the next assignment."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train until the next report, and return it as a `Message`.

        An error of the trial is reported and ends the trial. Any other error is reported too, and the following step
        raises it: Tune then removes this actor instead of reusing it.
        """
        if self._fatal is not None:
            raise self._fatal
        try:
            message = self._next_message()
        except Exception as error:
            message = self._failed(error)
        message = message.model_copy(update={"location": own_location()})
        return {"message": message.model_dump_json(), "done": message.done}

    def _failed(self, error: Exception) -> Message:
        kind = _failure_kind(error)
        if kind is FailureKind.TRIAL and not is_usable(choose_device(self._assignment.spec.resources.gpu)):
            kind = FailureKind.GPU  # CUDA failed, although the error does not show it
        if kind is FailureKind.TRIAL:
            failure = Failure(kind=kind, message=traceback.format_exc(limit=-8))
            return Message(metadata=self._metadata, failure=failure, done=True)
        self._fatal = error
        is_storage = kind is FailureKind.STORAGE
        description = str(error) if is_storage else "".join(traceback.format_exception_only(error)).strip()
        return Message(failure=Failure(kind=kind, message=description))

    def _next_message(self) -> Message:
        if self._training is None:
            self._training = self._open_training()
        result = next(self._results)
        done = self._training.is_last(result)
        is_checkpoint_time = time.monotonic() - self._saved_time >= self._assignment.checkpoint_seconds
        if is_checkpoint_time and not done and result.step > self._saved_step:
            self._save(self._training, result.step)
        assert self._metadata is not None
        update: dict[str, Any] = {"nondeterministic": self._training.nondeterministic}
        if done:
            update["weights_hash"] = weights_hash(self._training.evaluated_model)
        self._metadata = self._metadata.model_copy(update=update)
        test = self._test(self._training) if done else None
        if done:
            self._keep(self._training, result, test)
        return Message(metadata=self._metadata, result=result, test=test, done=done)

    def _open_training(self) -> Training:
        spec = self._assignment.spec
        if problem := other_code(self._modules, owner="the driver"):
            raise NodeError(f"node {node_name()} {problem}")
        images = self._open_images()
        configure_torch(num_threads=spec.resources.cpu, deterministic=spec.training.deterministic)
        metadata, training = open_training(
            spec,
            self._data_dirs,
            device=choose_device(spec.resources.gpu),
            checkpoints=[parse_path(folder) for folder in self._assignment.earlier_folders],
            images=images,
            backends=self._assignment.backends or None,
        )
        self._metadata = self._with_origin(metadata)
        write_backends(training.backends or (), parse_path(self._assignment.attempt_folder))
        for name in ("data_hash", "subset_hash"):
            self._check_hash(name, getattr(self._assignment, name), getattr(self._metadata, name))
        self._saved_step = training.step
        self._results = training.results()
        return training

    def _with_origin(self, metadata: TrialMetadata) -> TrialMetadata:
        """Add the driver's command line to the provenance, and write the files that the provenance names."""
        if not self._origin:
            return metadata
        folder = self._origin["folder"]
        try:
            _write_environment(folder)
        except OSError as error:  # only information: it fails no trial
            _log.warning("no package versions in %s: %s", folder, error)
        provenance = metadata.provenance.model_copy(update={"command_line": self._origin["command_line"]})
        return metadata.model_copy(update={"provenance": provenance})

    def _open_images(self) -> Images:
        # The driver has opened the same images, so a DataError here is a fault of this node.
        try:
            return _shared_train_images(self._assignment.spec.data, self._data_dirs)
        except DataError as error:
            raise NodeError(f"node {node_name()} cannot open the images: {error}") from error

    def _test(self, training: Training) -> TestResult | None:
        """Test a replicate after its last step, and write its predictions; return None for a trial.

        The driver writes the record after this result has arrived, so a tested record has its predictions.
        """
        if self._assignment.test_hash is None:
            return None
        try:
            images = _shared_test_images(self._assignment.spec.data, self._data_dirs)
        except DataError as error:
            raise NodeError(f"node {node_name()} cannot open the test images: {error}") from error
        self._check_hash("test images", self._assignment.test_hash, images.content_hash)
        device = choose_device(self._assignment.spec.resources.gpu)
        result, predictions = evaluate_on_test(training, images, device=device)
        attempt_folder = parse_path(self._assignment.attempt_folder)
        with storage_faults(attempt_folder):
            save_predictions(predictions, attempt_folder, replicate_id=self._assignment.trial_id)
        self._inspect(training, images)
        return result

    def _inspect(self, training: Training, images: Images) -> None:
        """Write the inspection of a tested replicate. Without it, a section of the report lacks the replicate."""
        device = choose_device(self._assignment.spec.resources.gpu)
        try:
            inspection = inspect_replicate(training, images, device=device)
            folder = parse_path(self._assignment.attempt_folder)
            save_inspection(inspection, folder, replicate_id=self._assignment.trial_id)
        except Exception as error:  # the test result is known, and no fault may lose it
            _log.warning("no inspection of %s: %s", self._assignment.trial_id, first_line(error))

    def _keep(self, training: Training, result: Result, test: TestResult | None) -> None:
        """Write the model of a finished training if it is to be kept, before the driver writes the record."""
        request, spec, metadata = self._assignment.keep, self._assignment.spec, self._metadata
        assert metadata is not None
        if request is None or not _is_good_enough(request, spec, result, metadata):
            return
        images = _shared_train_images(spec.data, self._data_dirs)
        description = describe_model(training, spec, metadata, images, request.origin, result=result, test=test)
        attempt_folder = parse_path(self._assignment.attempt_folder)
        with storage_faults(attempt_folder):
            save_model(attempt_folder, training.evaluated_model, description)

    def _save(self, training: Training, step: int) -> None:
        try:
            save_checkpoint(training.state(), parse_path(self._assignment.attempt_folder), step=step)
        except OSError as error:  # a lost checkpoint only costs time, so a full or unreachable storage fails no trial
            _log.warning("no checkpoint of %s at step %s: %s", self._assignment.trial_id, step, error)
        else:
            self._saved_step = step
        self._saved_time = time.monotonic()

    def _check_hash(self, name: str, expected: str | None, actual: str) -> None:
        if expected not in (None, actual):
            node = f"node {node_name()} has other images than the driver"
            raise NodeError(f"{node}: {name} {actual}, in the manifest {expected}")


@functools.cache
def _write_environment(folder: str) -> None:
    """Write the files once per process and search."""
    write_environment(parse_path(folder))


def _shared_train_images(data: DataSection, data_dirs: DataDirs) -> Images:
    """Open the training images once per process: they are mapped read-only, so all trials of an actor share them."""
    return _open_shared(data.place_of(None), data.image_size, data.max_pixels, data_dirs, is_test=False)


def _shared_test_images(data: DataSection, data_dirs: DataDirs) -> Images:
    return _open_shared(data.place_of(None), data.image_size, data.max_pixels, data_dirs, is_test=True)


@functools.lru_cache(maxsize=_MAX_OPEN_SPLITS)
def _open_shared(
    dataset: str, image_size: int | None, max_pixels: int | None, data_dirs: DataDirs, *, is_test: bool
) -> Images:
    """Open a split. All fields of a section `data` that decide its pixels are arguments: others differ by trial."""
    data = DataSection(dataset=dataset, image_size=image_size, max_pixels=max_pixels)
    if is_test:
        return open_test_images(data, data_dirs, train=_shared_train_images(data, data_dirs))
    return open_train_images(data, data_dirs)


def _is_good_enough(request: KeepRequest, spec: TrialSpec, result: Result, metadata: TrialMetadata) -> bool:
    """Return True unless another trial of the cell is better already, so that the model would be removed."""
    if request.at_least is None:
        return True
    metric = spec.metrics[0]
    sign = find_metric(metric).sign
    return sign * measure(name_of(metric), result, metadata) >= sign * request.at_least


def _failure_kind(error: Exception) -> FailureKind:
    if isinstance(error, NodeError):
        return FailureKind.NODE
    if isinstance(error, StorageError):
        return FailureKind.STORAGE
    if is_gpu_out_of_memory(error):
        return FailureKind.GPU_MEMORY
    if is_gpu_fault(error):
        return FailureKind.GPU
    return FailureKind.MACHINE if is_machine_fault(error) else FailureKind.TRIAL
