"""Notes of a plan: the assumptions behind its numbers."""

from collections.abc import Iterable

from lkca_search.search.planning.calibration import CalibrationRun
from lkca_search.search.planning.speed import ASSUMED_CORE_FLOPS, ASSUMED_GPU_FLOPS
from lkca_search.search.planning.workload import WORKER_BYTES, Workload
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.factors import one_draw_note
from lkca_search.spec.search_spec import SearchSpec


def list_notes(
    spec: SearchSpec, workloads: Iterable[Workload], calibration: CalibrationRun | None, *, on_gpu: bool
) -> list[str]:
    """Return the assumptions behind memory, operations, totals and seconds; `on_gpu`: this machine has a GPU."""
    sizes = {workload.bytes_per_parameter for workload in workloads}
    per_parameter = " to ".join(str(size) for size in sorted({min(sizes), max(sizes)}))
    notes = [
        f"memory per trial: {WORKER_BYTES // 10**6} MB for a worker with torch, {per_parameter} bytes per parameter "
        "(weight, gradient, moments of the optimizer, average of the weights), and the activations of a step",
        "FLOPs: of a cell, the forward pass of one image; in total, three of them per training image of all trainings, "
        "and one per validation image",
        "time of a cell: all its trials and replicates, one after another",
        "totals: mean over evenly sampled configurations of each cell, times its number of trials",
    ]
    if calibration is None:
        rate = (
            f"{ASSUMED_GPU_FLOPS / 1e12:g} TFLOP/s per GPU"
            if spec.resources.uses_gpu
            else (f"{ASSUMED_CORE_FLOPS / 1e9:g} GFLOP/s per core")
        )
        notes.append(f"seconds: estimated from FLOPs at an assumed {rate}; --calibrate measures them")
    else:
        notes.append("seconds: measured on this machine with one trial at a time; several trials at once may be slower")
        if spec.resources.uses_gpu and not on_gpu:
            notes.append(
                "the calibration ran on the CPU, because this machine has no GPU: the hours are not those of a GPU"
            )
    if "family" not in {*spec.factors, *spec.parameters}:
        default = Configuration.model_fields["family"].default
        notes.append(f"family: {default} in every cell, the default, as neither a factor nor a parameter gives it")
    if spec.confirm is not None:
        notes.append("replicates: planned as trials of mean size; their evaluations on test images are not counted")
        if note := one_draw_note(spec.confirm.draws):
            notes.append(f"confirmation: {note}")
    if spec.resources.custom:
        notes.append(f"custom resources ({', '.join(spec.resources.custom)}) are assumed to be available")
    if spec.search.pruner.name != "none" or spec.limits != type(spec.limits)():
        notes.append(
            "the pruner and the limits can end trials, cells or the search early: all numbers are upper bounds"
        )
    return notes
