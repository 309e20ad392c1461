"""Speed of trials: seconds as a function of operations, fitted to measurements or assumed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from lkca_search.search.planning.workload import Workload
from lkca_search.spec.resources import TrialResources

ASSUMED_CORE_FLOPS = 30e9
"""Operations per second of one core. Trainings of 40k to 250k parameters reached 10 to 50 GFLOP/s with AVX-512."""
ASSUMED_GPU_FLOPS = 4e12
"""Operations per second of one GPU: a guess, not measured."""
ASSUMED_COMPILE_SECONDS = 40.0
"""Seconds of a compilation by torch.compile: a guess, not measured."""
_ASSUMED_STEP_SECONDS = 0.004
_ASSUMED_START_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Line:
    """Seconds as a linear function of operations."""

    intercept: float
    """Seconds that do not depend on the number of operations."""
    slope: float
    """Seconds per operation."""

    def predict(self, flops: float) -> float:
        """Return the seconds of `flops` operations."""
        return self.intercept + self.slope * flops

    @classmethod
    def fit(cls, points: Sequence[tuple[float, float]]) -> Self:
        """Fit a line to at least one (operations, seconds) by non-negative least squares on relative errors."""
        from scipy.optimize import nnls  # slow to import, and only a calibration fits

        flops, seconds = zip(*points, strict=True)
        scale = max(flops)  # operations are about 1e9: without scaling, the solver rounds the intercept to 0
        columns = [[1 / y, x / scale / y] for x, y in points]
        if len(set(flops)) == 1:
            columns = [[0.0, slope] for _, slope in columns]
        (intercept, slope), _ = nnls(columns, [1.0] * len(seconds))
        return cls(intercept=float(intercept), slope=float(slope) / scale)

    def scaled_to(self, flops: float, seconds: float) -> "Line":
        """Return the line multiplied by a factor so that it passes through one point."""
        factor = seconds / self.predict(flops)
        return Line(intercept=self.intercept * factor, slope=self.slope * factor)


@dataclass(frozen=True, kw_only=True)
class FamilyLines:
    """One line per measured kind of workload (see `Workload.kind`), and one line for all others."""

    overall: Line
    families: Mapping[str, Line] = field(default_factory=dict)

    @classmethod
    def fit(cls, points: Mapping[str, Sequence[tuple[float, float]]]) -> Self:
        """Fit a line per kind with several points. A kind with one point gets the overall line, scaled to it."""
        overall = Line.fit([point for family_points in points.values() for point in family_points])
        families = {
            family: Line.fit(family_points) if len(family_points) > 1 else overall.scaled_to(*family_points[0])
            for family, family_points in points.items()
        }
        return cls(overall=overall, families=families)

    def predict(self, kind: str, flops: float) -> float:
        """Return the seconds of `flops` operations of a kind of workload."""
        return self.families.get(kind, self.overall).predict(flops)


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Speed of the trials of a search on one machine."""

    start_seconds: float
    """Seconds from a trial's assignment to its first step."""
    step: FamilyLines
    """Seconds per step, by its operations."""
    evaluation: FamilyLines
    """Seconds per validation image, by the operations of its forward pass."""
    compile_seconds: float = ASSUMED_COMPILE_SECONDS
    """Seconds of a compilation, at the first step and the first evaluation of a compiled model."""

    def trial_seconds(self, workload: Workload) -> float:
        """Return the seconds of a trial: start, compilation, steps and evaluations."""
        steps = workload.steps * self.step.predict(workload.kind, workload.step_flops)
        evaluations = workload.num_evaluated * self.evaluation.predict(workload.kind, workload.cost.flops)
        return self.start_seconds + self.compile_seconds * workload.compiled + steps + evaluations


def assumed_speed(resources: TrialResources, *, on_gpu: bool) -> Speed:
    """Return a speed guessed from the resources of a trial, without measurements."""
    rate = resources.gpu * ASSUMED_GPU_FLOPS if on_gpu else resources.cpu * ASSUMED_CORE_FLOPS
    return Speed(
        start_seconds=_ASSUMED_START_SECONDS,
        step=FamilyLines(overall=Line(intercept=_ASSUMED_STEP_SECONDS, slope=1 / rate)),
        evaluation=FamilyLines(overall=Line(intercept=0.0, slope=1 / rate)),
    )
