"""Plan of a search: its trials, their cost, and the expected duration."""

from typing import Literal

from lkca_search.search.planning.calibration import CalibrationRun
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import ImageShape


class PlannedCell(FrozenModel):
    """Plan of one cell. A pair holds the smallest and the largest value among its configurations."""

    cell: str
    """Key of the cell."""
    num_trials: int
    """Trials to train: the budget, or the number of distinct configurations if that is smaller."""
    budget: int
    """Trials per cell in the space file."""
    num_replicates: int
    """Replicates that confirm the cell; 0 without a section `confirm`."""
    num_configurations: int | None
    """Distinct configurations; None if a range of floats is searched, which has infinitely many."""
    num_train_images: tuple[int, int]
    """Training images per trial."""
    batch_size: tuple[int, int]
    """Images per step, at most the training images."""
    steps: tuple[int, int]
    """Planned optimizer steps per trial."""
    epochs: tuple[float, float]
    """Planned passes over the training images per trial."""
    num_parameters: tuple[int, int]
    """Trainable parameters."""
    flops: tuple[int, int]
    """Floating-point operations of the forward pass of one image."""
    memory_bytes: tuple[int, int]
    """Memory per trial at its batch size."""
    trial_seconds: tuple[float, float]
    """Seconds per trial."""
    seconds: float
    """Seconds of all trials and replicates, one after another."""
    samples: int
    """Training images seen by all trials and replicates."""
    total_flops: int
    """Operations of all of them: three forward passes per training image, one per validation image."""


class PlannedDataset(FrozenModel):
    """Images of a dataset."""

    name: str
    """Level of the factor `dataset`, or `data.dataset`."""
    shape: ImageShape
    """Height and width of the images in pixels, and channels."""
    num_classes: int


class DiskUse(FrozenModel):
    """Disk space of a search, in bytes."""

    images: int
    """Decoded training splits. All searches share one copy."""
    records: int
    """Records, inspections of replicates, tables, the ledger and the local MLflow store."""
    checkpoints: int
    """Largest checkpoints of the trials that run at the same time, two per trial. Finished trials keep none."""
    weights: int
    """Kept models: of all replicates, and with `keep.weights: best` one per cell, each as large as the largest there.

    0 if none is kept. A confirmation that the space file does not plan is not counted."""
    predictions: int | None
    """Test predictions of all replicates, before compression; None if the number of test images is unknown."""


class Plan(FrozenModel):
    """Trials, cost and duration of a search."""

    datasets: tuple[PlannedDataset, ...]
    """Datasets of the search, in the order of the space file."""
    cells: tuple[PlannedCell, ...]
    num_trials: int
    """Trials of all cells."""
    num_replicates: int
    """Replicates of all cells."""
    samples: int
    """Training images seen by all trials and replicates."""
    total_flops: int
    """Operations of all trials and replicates."""
    disk: DiskUse
    num_cpus: int
    """Cores for which the plan is made."""
    num_gpus: int
    """GPUs for which the plan is made."""
    num_slots: int
    """Trials that run at the same time on these cores and GPUs."""
    basis: Literal["assumed", "calibrated"]
    """Source of the seconds: an assumed speed, or measurements."""
    calibration: CalibrationRun | None
    """Measurements; None if the speed is assumed."""
    hours: float
    """Seconds of all trials and replicates, divided by the slots; at least the longest trial."""
    length_keys: tuple[str, ...]
    """Keys of the space file that decide the length of the trials, such as `training.epochs`."""
    few_epochs: tuple[str, ...]
    """Cells with trials of fewer than FEW_EPOCHS epochs: their trainings may end too early."""
    many_epochs: tuple[str, ...]
    """Cells with trials of more than MANY_EPOCHS epochs: the time may be spent on repeating few images."""
    few_steps: tuple[str, ...]
    """Cells with trials of fewer steps than the given number of reports: these trials have one report per step."""
    unequal_lengths: tuple[str, ...]
    """Cells whose trials see another number of images than those of other cells with as many training images."""
    notes: tuple[str, ...]
    """Assumptions behind the numbers."""
