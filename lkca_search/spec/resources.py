"""Resources: what a space file asks for each trial, and what a trial holds while it trains."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from lkca_search.spec.base import FrozenModel

SMALLEST_AMOUNT = 1e-4
"""Ray counts in ten-thousandths."""

GpuShare = Annotated[
    Annotated[float, Field(ge=0), Tag("share")] | Annotated[Literal["auto"], Tag("auto")],
    Discriminator(lambda given: "auto" if isinstance(given, str) else "share"),
]
"""A share of one GPU, or `auto`: as many trials on each as its memory has room for."""


class TrialResources(FrozenModel):
    """What one trial holds while it trains: what of the resources can make a difference to its result, or its speed."""

    cpu: Annotated[int, Field(ge=1)] = 1
    """CPU cores, and threads: their number decides the order of floating-point sums."""
    gpu: Annotated[float, Field(ge=0)] = 0.0
    """Share of one GPU; 0 is training on the CPU."""


class ResourcesSection(FrozenModel):
    """What is asked for each trial, and how many may train at once."""

    cpu: Annotated[int, Field(ge=1)] = 1
    """CPU cores, and threads, of a trial."""
    gpu: GpuShare = 0.0
    """Share of one GPU: 0.25 packs four trials on each; `auto` packs as many as their memory has room for."""
    gpu_memory: Annotated[float, Field(gt=0)] | None = None
    """GB of one GPU, for `gpu: auto` where the GPUs cannot be asked, as before an autoscaler has started any."""
    custom: Mapping[Annotated[str, Field(min_length=1)], Annotated[float, Field(ge=SMALLEST_AMOUNT)]] = {}
    """Amounts of Ray's custom resources, by name: {a100: 0.25} keeps to nodes that were started with some a100."""
    max_concurrent: Annotated[int, Field(ge=1)] | None = None
    """Trials at once, at most; where the cluster scales by itself, so many are asked of it."""

    @property
    def wants_gpu(self) -> bool:
        """Whether trials train on a GPU."""
        return self.gpu != 0

    def of_trial(self, *, gpu: float | None = None) -> TrialResources:
        """What one trial holds, at a share of a GPU where that was left open; by default a whole one then."""
        if isinstance(self.gpu, float):
            return TrialResources(cpu=self.cpu, gpu=self.gpu)
        return TrialResources(cpu=self.cpu, gpu=1.0 if gpu is None else gpu)

    @model_validator(mode="after")
    def _can_be_had_of_one_node(self) -> Self:
        if self.gpu != "auto" and self.gpu > 1:
            raise ValueError(f"gpu must be at most 1, since a trial uses one device, got {self.gpu}")
        if self.gpu != "auto" and 0 < self.gpu < SMALLEST_AMOUNT:
            raise ValueError(f"gpu must be 0 or at least {SMALLEST_AMOUNT:g}, got {self.gpu}")
        if self.gpu_memory is not None and self.gpu != "auto":
            raise ValueError(f"gpu_memory decides the share of gpu: auto, and gpu is {self.gpu}; leave one of them out")
        for name, amount in self.custom.items():
            if name.lower() in ("cpu", "gpu"):
                raise ValueError(f"custom names resources beside cpu and gpu, which have keys of their own, got {name}")
            if amount > 1 and not amount.is_integer():
                raise ValueError(f"custom.{name} must be whole above 1, since Ray takes no other amounts, got {amount}")
        return self
