"""Messages between a driver and its workers: one assignment per attempt, one message per report."""

from enum import StrEnum

from lkca_search.records.model_description import ModelOrigin
from lkca_search.records.provenance import LayerBackend
from lkca_search.records.record import Result, TestResult, TrialMetadata
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.base import FrozenModel


class KeepRequest(FrozenModel):
    """Request to keep the model of an attempt."""

    origin: ModelOrigin
    """Search, cell, trial and round of the model."""
    at_least: float | None = None
    """Best value of the leading metric in the cell: the model of a worse trial is not kept. None keeps every model."""


class Assignment(FrozenModel):
    """One attempt at a trial, complete for a worker on any node."""

    trial_id: str
    """Id of the trial or replicate."""
    spec: TrialSpec
    """Data, configuration, resources and seed."""
    attempt: int
    """Number of this attempt, from 1."""
    attempt_folder: str
    """Folder of this attempt's checkpoints; no other attempt writes there."""
    earlier_folders: tuple[str, ...]
    """Folders of earlier attempts; training resumes from the newest checkpoint in them."""
    data_hash: str | None = None
    """Expected content hash of the training images; None if unknown."""
    subset_hash: str | None = None
    """Expected hash of the trial's training subset; None if unknown."""
    test_hash: str | None = None
    """Expected content hash of the test images of a replicate; None for a trial, which is never tested."""
    backends: tuple[LayerBackend, ...] = ()
    """Backends of the trial that a replicate repeats: all replicates of a configuration are computed the same way."""
    keep: KeepRequest | None = None
    """Request to keep the trained model; None if none is kept."""
    checkpoint_seconds: float
    """Minimum time between two checkpoints."""


class FailureKind(StrEnum):
    """Cause of a failure. The driver handles each kind differently."""

    TRIAL = "trial"
    """Error of the trial itself: it is recorded as failed, since another attempt would fail again."""
    MACHINE = "machine"
    """Disk or memory was exhausted: the trial is requeued and gets a new worker."""
    GPU_MEMORY = "gpu_memory"
    """The memory of a GPU was exhausted: as MACHINE, and fewer trials share a GPU under `gpu: auto`."""
    GPU = "gpu"
    """CUDA failed: every later call of the process would fail too. As MACHINE."""
    STORAGE = "storage"
    """The storage of the search is full: the driver ends, as for a record, and the trial stays unfinished."""
    NODE = "node"
    """The node's images are missing or differ from the driver's: the driver halts, and the trial stays unfinished."""


class Failure(FrozenModel):
    """An error in a worker."""

    kind: FailureKind
    """Cause of the failure."""
    message: str
    """Traceback for an error of the trial; type and text of the exception for any other."""


class WorkerLocation(FrozenModel):
    """Place of a worker in the cluster."""

    node: str
    """Ray's id of the node. A node that leaves and joins again has another one."""
    gpu: str = ""
    """Ray's id of the GPU on the node; empty on the CPU."""


class Message(FrozenModel):
    """Message of a worker at one report of its trial."""

    location: WorkerLocation | None = None
    """Place of the worker; None outside of Ray."""
    metadata: TrialMetadata | None = None
    """Metadata of the trial; None until its data and model are ready."""
    result: Result | None = None
    """Result of the evaluation; None if the training failed."""
    test: TestResult | None = None
    """Test result, with the last result of a replicate."""
    failure: Failure | None = None
    """Error that ended the training."""
    done: bool = False
    """True if the trial is over. After any failure but `TRIAL`, it is False and the worker dies."""
