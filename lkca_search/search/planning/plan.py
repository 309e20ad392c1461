"""The plan: what a search would run, what it would take, and how long, before anything is started."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from lkca_search.data.store import Images
from lkca_search.errors import SearchError
from lkca_search.models.difference import ARCHITECTURE_NAMES
from lkca_search.search.planning.calibration import CalibrationRun, calibrate
from lkca_search.search.planning.packing import (
    GpuSharing,
    Resources,
    check_capacity,
    count_concurrent_trials,
    resource_request,
)
from lkca_search.search.planning.space_size import count_configurations, extreme_configurations, sampled_configurations
from lkca_search.search.planning.speed import ASSUMED_CORE_FLOPS, ASSUMED_GPU_FLOPS, Speed, assumed_speed
from lkca_search.search.planning.workload import WORKER_BYTES, Workload, WorkloadFactory
from lkca_search.search.studies.space_check import find_space_problems, find_subset_problems
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.cells import Cell, cells
from lkca_search.spec.configuration import ImageShape
from lkca_search.spec.factors import repeats_of
from lkca_search.spec.resources import ResourcesSection, TrialResources
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.space_file import SpaceFile
from lkca_search.training.device import choose_device, gpu_memory_bytes
from lkca_search.training.images import DataDirs, open_train_images

T = TypeVar("T", int, float)
_ELSEWHERE = "; --num-cpus and --num-gpus plan for another machine or cluster"
_DRAWS_IN_ALL = 48
"""Configurations that means are taken over, in all cells that differ in their models: each is built once."""
_DRAWS = (6, 16)
"""The fewest and the most of one cell."""
_TRIAL_BYTES = 10_000
_REPORT_BYTES = 2_500
"""What a trial and each of its reports take in records, tables, the ledger and MLflow's own store, as measured."""


class PlannedCell(FrozenModel):
    """What one cell would run. A pair is the smallest and the largest among its configurations."""

    cell: str
    """Key of the cell."""
    num_trials: int
    """Trials that are trained: the budget, or the distinct configurations where there are fewer."""
    budget: int
    """Trials that every cell may have."""
    num_replicates: int
    """Trainings that confirm it, where the space file asks for that."""
    num_configurations: int | None
    """Distinct configurations; None where a range of floats is searched, which has no end of them."""
    num_train_images: tuple[int, int]
    """Images trained on."""
    steps: tuple[int, int]
    """Planned optimiser steps of a trial."""
    num_parameters: tuple[int, int]
    """Learnable parameters."""
    flops: tuple[int, int]
    """Floating-point operations of one image's forward pass."""
    memory_bytes: tuple[int, int]
    """Memory of a trial at its batch size."""
    trial_seconds: tuple[float, float]
    """Seconds of a trial."""
    seconds: float
    """Seconds of all trials and replicates, one after another."""
    samples: int
    """Training images seen by all of them."""
    total_flops: int
    """Operations of all of them: three forward passes a training image, one a validation image."""


class DiskUse(FrozenModel):
    """What a search leaves on disk, in bytes."""

    images: int
    """The decoded training split, one copy for all searches."""
    records: int
    """Records, tables, the ledger and MLflow's own store."""
    checkpoints: int
    """Of the trials that run at once, at their largest; those of finished trials are removed."""


class Plan(FrozenModel):
    """What a search would run, and what it would take."""

    dataset: str
    shape: ImageShape
    """Height and width of the images in pixels, and channels."""
    num_classes: int
    cells: tuple[PlannedCell, ...]
    num_trials: int
    """Trials of all cells."""
    num_replicates: int
    """Trainings that confirm them."""
    samples: int
    """Training images seen by all trials and replicates."""
    total_flops: int
    """Operations of all of them."""
    disk: DiskUse
    num_cpus: int
    """Cores that were reckoned with."""
    num_gpus: int
    """GPUs that were reckoned with."""
    num_slots: int
    """Trials that run at once on these."""
    basis: Literal["assumed", "calibrated"]
    """Where seconds come from: a guess, or steps that were timed."""
    calibration: CalibrationRun | None
    """What was timed."""
    hours: float
    """Seconds of all trials and replicates by slots, and no less than the longest trial."""
    notes: tuple[str, ...]
    """What the numbers rest on."""


@dataclass(frozen=True, kw_only=True)
class _Sampled:
    """A cell, and workloads of some of its configurations."""

    cell: Cell
    extreme_configurations: list[Workload]
    """The smallest and the largest are among them."""
    draws: list[Workload]
    """Spread evenly: their mean is the cell's."""

    @property
    def all(self) -> list[Workload]:
        return [*self.extreme_configurations, *self.draws]


def make_plan(
    space_file: SpaceFile,
    data_dirs: DataDirs,
    *,
    num_cpus: int | None = None,
    num_gpus: int | None = None,
    calibrate_speed: bool = False,
    on_measured: Callable[[int, int], None] = lambda done, of: None,
) -> Plan:
    """Work out what a search would run; with `calibrate_speed`, time some of its configurations for a minute.

    Cores and GPUs are by default those of this machine. Raises, as `run` does, SpaceFileError for a configuration that
    cannot be trained, DataError for data that cannot be had, and SearchError where no trial could be placed.
    """
    spec = space_file.spec
    images = open_train_images(spec.data, data_dirs)
    problems = [
        *find_space_problems(spec, images.shape, len(images.class_names)),
        *find_subset_problems(spec, images.labels),
    ]
    if problems:
        raise space_file.error(problems)
    on_gpu = choose_device(spec.resources.gpu).type != "cpu"
    num_cpus = os.cpu_count() or 1 if num_cpus is None else num_cpus
    num_gpus = int(on_gpu) if num_gpus is None else num_gpus
    sampled = _sample(spec, images)
    node = {"CPU": float(num_cpus), "GPU": float(num_gpus)}
    sharing = _share_gpu(spec, sampled, images, node) if spec.resources.gpu == "auto" else None
    held = spec.resources.of_trial(gpu=sharing.share if sharing else None)
    num_slots = _count_slots(spec.resources, held, node)
    run, speed = None, assumed_speed(held, on_gpu=spec.resources.wants_gpu)
    if calibrate_speed:
        workloads = [workload for cell in sampled for workload in cell.all]
        run, speed = calibrate(spec, workloads, data_dirs, on_measured=on_measured)
    planned = tuple(_plan_cell(spec, cell, speed) for cell in sampled)
    seconds = sum(cell.seconds for cell in planned)
    return Plan(
        dataset=spec.data.dataset,
        shape=images.shape,
        num_classes=len(images.class_names),
        cells=planned,
        num_trials=sum(cell.num_trials for cell in planned),
        num_replicates=sum(cell.num_replicates for cell in planned),
        samples=sum(cell.samples for cell in planned),
        total_flops=sum(cell.total_flops for cell in planned),
        disk=_disk_use(images, sampled, planned, num_slots),
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        num_slots=num_slots,
        basis="calibrated" if calibrate_speed else "assumed",
        calibration=run,
        hours=max(seconds / num_slots, *(cell.trial_seconds[1] for cell in planned)) / 3600,
        notes=(*([sharing.reason] if sharing else []), *_notes(spec, run, on_gpu=on_gpu)),
    )


def _share_gpu(spec: SearchSpec, sampled: Sequence[_Sampled], images: Images, node: Resources) -> GpuSharing:
    """How many trials share a GPU here, or on the machine that is planned for."""
    given = spec.resources.gpu_memory
    gpu_bytes = gpu_memory_bytes() if given is None else given * 1e9
    if gpu_bytes is None:
        raise SearchError(
            "gpu: auto needs to know the memory of a GPU, and here is none: give it as resources.gpu_memory, in GB"
        )
    trial_bytes = max(each.gpu_bytes(images) for cell in sampled for each in cell.all)
    return GpuSharing(trial_bytes=trial_bytes, gpu_bytes=gpu_bytes, cpu=spec.resources.cpu, nodes=[node])


def _count_slots(resources: ResourcesSection, held: TrialResources, node: Resources) -> int:
    """How many trials run at once on one machine; custom resources are taken as given."""
    asked = resource_request(resources.model_copy(update={"custom": {}}), held)
    check_capacity(asked, [node], hint=_ELSEWHERE)
    slots = count_concurrent_trials(asked, [node])
    return slots if resources.max_concurrent is None else min(slots, resources.max_concurrent)


def _sample(spec: SearchSpec, images: Images) -> list[_Sampled]:
    workloads, found = WorkloadFactory(spec, images), cells(spec)
    num_kinds = len(
        {tuple(level for name, level in cell.levels.items() if name in ARCHITECTURE_NAMES) for cell in found}
    )
    count = max(_DRAWS[0], min(_DRAWS[1], _DRAWS_IN_ALL // num_kinds))
    return [
        _Sampled(
            cell=cell,
            extreme_configurations=list(workloads.make_all(extreme_configurations(spec, cell))),
            draws=list(workloads.make_all(sampled_configurations(spec, cell, count))),
        )
        for cell in found
    ]


def _plan_cell(spec: SearchSpec, sampled: _Sampled, speed: Speed) -> PlannedCell:
    budget = spec.search.trials_per_cell
    num_configurations = count_configurations(spec, sampled.cell)
    num_trials = budget if num_configurations is None else min(budget, num_configurations)
    confirm = spec.confirm
    draws = confirm.draws // max(len(repeats_of(spec.factors, spec.exclude)), 1) if confirm else 0
    num_replicates = min(confirm.top, num_trials) * draws * confirm.seeds if confirm else 0
    every, typical = sampled.all, sampled.draws or sampled.extreme_configurations
    seconds = [speed.trial_seconds(each) for each in typical]
    return PlannedCell(
        cell=sampled.cell.key,
        num_trials=num_trials,
        budget=budget,
        num_replicates=num_replicates,
        num_configurations=num_configurations,
        num_train_images=_edges([each.num_train_images for each in every]),
        steps=_edges([each.steps for each in every]),
        num_parameters=_edges([each.cost.num_parameters for each in every]),
        flops=_edges([each.cost.flops for each in every]),
        memory_bytes=_edges([each.memory_bytes for each in every]),
        trial_seconds=_edges([speed.trial_seconds(each) for each in every]),
        seconds=(num_trials + num_replicates) * sum(seconds) / len(seconds),
        samples=_times_mean(num_trials + num_replicates, [each.samples for each in typical]),
        total_flops=_times_mean(num_trials + num_replicates, [each.total_flops for each in typical]),
    )


def _disk_use(images: Images, sampled: Sequence[_Sampled], planned: Sequence[PlannedCell], num_slots: int) -> DiskUse:
    num_trials = sum(cell.num_trials + cell.num_replicates for cell in planned)
    num_reports = max(each.num_reports for cell in sampled for each in cell.all)
    largest = max(each.checkpoint_bytes for cell in sampled for each in cell.all)
    return DiskUse(
        images=images.pixels.nbytes + images.labels.nbytes,
        records=num_trials * (_TRIAL_BYTES + num_reports * _REPORT_BYTES),
        checkpoints=min(num_slots, num_trials) * largest,
    )


def _notes(spec: SearchSpec, calibration: CalibrationRun | None, *, on_gpu: bool) -> list[str]:
    notes = [
        f"memory of a trial: {WORKER_BYTES // 10**6} MB for a worker with torch, 16 bytes a parameter (weight, "
        "gradient, AdamW's two moments), and the activations of a step",
        "FLOPs: three forward passes a training image, one a validation image",
        "totals: means over configurations spread evenly over each cell's domains, times its trials",
    ]
    if calibration is None:
        rate = (
            f"{ASSUMED_GPU_FLOPS / 1e12:g} TFLOP/s a GPU"
            if spec.resources.wants_gpu
            else (f"{ASSUMED_CORE_FLOPS / 1e9:g} GFLOP/s a core")
        )
        notes.append(f"seconds: estimated from FLOPs at an assumed {rate}; --calibrate measures them")
    else:
        notes.append("seconds: as timed on this machine, one trial at a time; trials beside each other may be slower")
        if spec.resources.wants_gpu and not on_gpu:
            notes.append("the calibration ran on the CPU, since there is no GPU here: the hours are not those of a GPU")
    if spec.confirm is not None:
        notes.append("replicates that confirm: reckoned as trials of mean size; their tests are not counted")
    if spec.resources.custom:
        notes.append(f"custom resources ({', '.join(spec.resources.custom)}) are taken as given")
    if spec.search.pruner.name != "none" or spec.limits != type(spec.limits)():
        notes.append(
            "the pruner and the limits can end trials, cells or the search early: all figures are upper bounds"
        )
    return notes


def _edges(numbers: Sequence[T]) -> tuple[T, T]:
    return min(numbers), max(numbers)


def _times_mean(count: int, numbers: Sequence[int]) -> int:
    """Exact where all numbers are equal."""
    return count * sum(numbers) // len(numbers)
