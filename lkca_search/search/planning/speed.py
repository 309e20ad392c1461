"""How many seconds a workload takes: lines through what was measured, or a rough figure where nothing was."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from scipy.optimize import nnls

from lkca_search.search.planning.workload import Workload
from lkca_search.spec.resources import TrialResources

ASSUMED_CORE_FLOPS = 80e9
"""Operations a second of one core where nothing was measured; a server's with AVX-512 did 70 to 110 GFLOP/s."""
ASSUMED_GPU_FLOPS = 4e12
"""Operations a second of one whole GPU where nothing was measured: a guess."""
_ROUGH_STEP_SECONDS = 0.002
_ROUGH_START_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Line:
    """Seconds as a line over operations."""

    base: float
    """Seconds that no operation takes."""
    slope: float
    """Seconds of each operation."""

    def at(self, flops: float) -> float:
        """Seconds of so many operations."""
        return self.base + self.slope * flops

    @classmethod
    def fit(cls, points: Sequence[tuple[float, float]]) -> Self:
        """Fit a line to at least one (operations, seconds) by non-negative least squares on relative errors."""
        flops, seconds = zip(*points, strict=True)
        scale = max(flops)  # operations are about 1e9: unscaled, the solver would round `base` to 0
        columns = [[1 / y, x / scale / y] for x, y in points]
        if len(set(flops)) == 1:
            columns = [[0.0, slope] for _, slope in columns]
        (base, slope), _ = nnls(columns, [1.0] * len(seconds))
        return cls(base=float(base), slope=float(slope) / scale)

    def scaled_to(self, flops: float, seconds: float) -> "Line":
        """The same line, stretched to go through one point."""
        stretch = seconds / self.at(flops)
        return Line(base=self.base * stretch, slope=self.slope * stretch)


@dataclass(frozen=True, kw_only=True)
class FamilyLines:
    """A line for each family that has one, and one for all others."""

    overall: Line
    families: Mapping[str, Line] = field(default_factory=dict)

    @classmethod
    def fit(cls, points: Mapping[str, Sequence[tuple[float, float]]]) -> Self:
        """A family's own line where it has two points; where it has one, the line through all, stretched to it."""
        overall = Line.fit([point for own in points.values() for point in own])
        families = {
            family: Line.fit(own) if len(own) > 1 else overall.scaled_to(*own[0]) for family, own in points.items()
        }
        return cls(overall=overall, families=families)

    def at(self, family: str, flops: float) -> float:
        """Seconds of so many operations of a family's model."""
        return self.families.get(family, self.overall).at(flops)


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast workloads are."""

    start_seconds: float
    """From a trial's assignment to its first step."""
    step: FamilyLines
    """Seconds a step, over its operations."""
    evaluation: FamilyLines
    """Seconds a validation image, over the operations of its forward pass."""

    def trial_seconds(self, workload: Workload) -> float:
        """Seconds of a whole trial: its start, its steps, its evaluations."""
        family = workload.configuration.family
        steps = workload.steps * self.step.at(family, workload.step_flops)
        return self.start_seconds + steps + workload.num_evaluated * self.evaluation.at(family, workload.cost.flops)


def assumed_speed(resources: TrialResources, *, on_gpu: bool) -> Speed:
    """A guess from the resources of a trial, with nothing measured."""
    rate = resources.gpu * ASSUMED_GPU_FLOPS if on_gpu else resources.cpu * ASSUMED_CORE_FLOPS
    return Speed(
        start_seconds=_ROUGH_START_SECONDS,
        step=FamilyLines(overall=Line(base=_ROUGH_STEP_SECONDS, slope=1 / rate)),
        evaluation=FamilyLines(overall=Line(base=0.0, slope=1 / rate)),
    )
