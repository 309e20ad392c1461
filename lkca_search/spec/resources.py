"""Resources that a space file requests per trial, resources of one trial while it trains, and weights that it keeps."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from lkca_search.spec.base import FrozenModel
from lkca_search.spec.reading.limits import at_most

SMALLEST_AMOUNT = 1e-4
"""Smallest amount of a resource in Ray, which counts in ten-thousandths."""

_Amount = Annotated[float, Field(ge=SMALLEST_AMOUNT), at_most(1_000_000, "no node has as much of a resource")]

GpuShare = Annotated[
    Annotated[float, Field(ge=0), Tag("share")] | Annotated[Literal["auto"], Tag("auto")],
    Discriminator(lambda value: "auto" if isinstance(value, str) else "share"),
]
"""Share of one GPU, or `auto`: as many trials per GPU as fit in its memory."""


_MAX_CORES = at_most(4_096, "no machine has as many cores")


def cpu_precision_rule(precision: str) -> str | None:
    """Return the rule that a precision breaks on a CPU, or None."""
    if precision not in ("tf32", "float16"):
        return None
    return f"precision must be auto, float32 or bfloat16 on a CPU, got {precision}"


class TrialResources(FrozenModel):
    """Resources of one trial while it trains that can affect its result or speed."""

    cpu: Annotated[int, Field(ge=1)] = 1
    """CPU cores, and threads; their number decides the order of floating-point sums."""
    gpu: Annotated[float, Field(ge=0)] = 0.0
    """Share of one GPU; 0 trains on the CPU."""


class ResourcesSection(FrozenModel):
    """Resources requested per trial, and the number of trials that may train at once."""

    cpu: Annotated[int, Field(ge=1), _MAX_CORES] = 1
    """CPU cores, and threads, per trial."""
    gpu: GpuShare = 0.0
    """Share of one GPU: 0.25 packs four trials per GPU; `auto` packs as many as fit in its memory."""
    gpu_memory: Annotated[float, Field(gt=0), at_most(10_000, "no GPU has 10 TB of memory")] | None = None
    """Memory of one GPU in GB, for `gpu: auto` when no GPU can be queried: an autoscaler may have started none yet."""
    custom: Mapping[Annotated[str, Field(min_length=1)], _Amount] = {}
    """Amounts of Ray's custom resources by name: {a100: 0.25} places trials on nodes that were started with `a100`."""
    max_concurrent: Annotated[int, Field(ge=1), at_most(10_000, "Ray is tested with as many tasks at once")] | None = (
        None
    )
    """Maximum number of trials at once; an autoscaling cluster receives requests for this many."""

    @property
    def uses_gpu(self) -> bool:
        """True if trials train on a GPU."""
        return self.gpu != 0

    def of_trial(self, *, gpu: float | None = None) -> TrialResources:
        """Return the resources of one trial. `gpu` is its share if the section has `auto`; by default a whole GPU."""
        if isinstance(self.gpu, float):
            return TrialResources(cpu=self.cpu, gpu=self.gpu)
        return TrialResources(cpu=self.cpu, gpu=1.0 if gpu is None else gpu)

    @model_validator(mode="after")
    def _check_amounts(self) -> Self:
        if self.gpu != "auto" and self.gpu > 1:
            raise ValueError(f"gpu must be at most 1, since a trial uses one device, got {self.gpu}")
        if self.gpu != "auto" and 0 < self.gpu < SMALLEST_AMOUNT:
            raise ValueError(f"gpu must be 0 or at least {SMALLEST_AMOUNT:g}, got {self.gpu}")
        if self.gpu_memory is not None and self.gpu != "auto":
            raise ValueError(f"gpu_memory must be left out unless gpu is auto, got gpu {self.gpu}")
        for name, amount in self.custom.items():
            if name.lower() in ("cpu", "gpu"):
                raise ValueError(f"custom must not name cpu or gpu, which have keys of their own, got {name}")
            if amount > 1 and not amount.is_integer():
                raise ValueError(
                    f"custom.{name} must be a whole number if it is above 1, as Ray requires, got {amount}"
                )
        return self


class KeepSection(FrozenModel):
    """Weights that stay after a training. Records and predictions always stay."""

    weights: Literal["replicates", "best", "none"] = "replicates"
    """Models to keep: `replicates` all of replicates, `best` also that of the best trial per cell, `none` none."""
