"""A workload: what training one configuration takes, counted in steps, images, operations and bytes."""

from collections.abc import Iterator
from dataclasses import dataclass

from lkca_search.data.store import Images
from lkca_search.data.subsets import assign_images
from lkca_search.errors import UserError
from lkca_search.models.cost import Cost
from lkca_search.models.registry import model_cost
from lkca_search.search.planning.space_size import extreme_configurations
from lkca_search.search.state.manifests import split_seed
from lkca_search.spec.cells import cells
from lkca_search.spec.configuration import SUBSET_NAMES, Configuration
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.training.schedule import Schedule

WORKER_BYTES = 440_000_000
"""Memory of a worker that has loaded torch and trains nothing."""
CUDA_CONTEXT_BYTES = 600_000_000
"""Memory of a GPU that a process takes before any tensor: context, kernels, workspaces. A guess, not measured yet."""
_FLOAT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What one trial takes, wherever it runs."""

    configuration: Configuration
    """What is trained."""
    num_train_images: int
    num_validation_images: int
    batch_size: int
    """Images in a step: those that were asked for, or the whole of a smaller subset."""
    steps: int
    """Optimiser steps."""
    samples: int
    """Training images seen."""
    num_reports: int
    """Evaluations, each of all validation images."""
    cost: Cost
    """What the model takes."""

    @property
    def step_flops(self) -> float:
        """Operations of a step: three forward passes an image."""
        return 3 * self.cost.flops * self.samples / self.steps

    @property
    def num_evaluated(self) -> int:
        """Validation images seen."""
        return self.num_reports * self.num_validation_images

    @property
    def total_flops(self) -> int:
        """Operations of the whole trial: three forward passes a training image, one a validation image."""
        return self.cost.flops * (3 * self.samples + self.num_evaluated)

    @property
    def memory_bytes(self) -> int:
        """A worker, four numbers a parameter (weight, gradient, AdamW's two moments), and the activations of a step."""
        return WORKER_BYTES + 4 * _FLOAT_BYTES * self.cost.num_parameters + self.cost.activation_bytes

    def gpu_bytes(self, images: Images) -> int:
        """Memory of a GPU: a context, the model and a step as in `memory_bytes`, and the trial's images, kept there."""
        of_images = (self.num_train_images + self.num_validation_images) * images.pixels.nbytes // len(images)
        return CUDA_CONTEXT_BYTES + self.memory_bytes - WORKER_BYTES + of_images

    @property
    def checkpoint_bytes(self) -> int:
        """Three numbers a parameter: weight and AdamW's two moments."""
        return 3 * _FLOAT_BYTES * self.cost.num_parameters


def largest_gpu_bytes(spec: SearchSpec, images: Images) -> int:
    """What the largest trial of a search takes of a GPU."""
    workloads = WorkloadFactory(spec, images)
    return max(
        (
            made.gpu_bytes(images)
            for cell in cells(spec)
            for made in workloads.make_all(extreme_configurations(spec, cell))
        ),
        default=CUDA_CONTEXT_BYTES,
    )


class WorkloadFactory:
    """Makes workloads of a search's configurations; what was counted once is remembered."""

    def __init__(self, spec: SearchSpec, images: Images) -> None:
        self._spec = spec
        self._images = images
        self._sizes: dict[tuple[object, ...], tuple[int, int]] = {}

    def make(self, configuration: Configuration) -> Workload:
        """The workload of one configuration; UserError if it cannot be trained."""
        training = self._spec.training
        num_train, num_validation = self._size(configuration)
        batch_size = min(training.batch_size, num_train)
        schedule = Schedule.plan(training, configuration, num_images=num_train)
        epochs, rest = divmod(schedule.steps, -(-num_train // batch_size))
        return Workload(
            configuration=configuration,
            num_train_images=num_train,
            num_validation_images=num_validation,
            batch_size=batch_size,
            steps=schedule.steps,
            samples=epochs * num_train + rest * batch_size,
            num_reports=len(schedule.reports),
            cost=self._cost(configuration, batch_size),
        )

    def make_all(self, configurations: list[Configuration]) -> Iterator[Workload]:
        """The workloads of those configurations that can be trained."""
        for configuration in configurations:
            try:
                yield self.make(configuration)
            except UserError:
                continue  # inside a long range, where a design is not tried: such a trial fails at once

    def _cost(self, configuration: Configuration, batch_size: int) -> Cost:
        return model_cost(configuration, self._images.shape, len(self._images.class_names), batch_size=batch_size)

    def _size(self, configuration: Configuration) -> tuple[int, int]:
        """Images trained on and validated on."""
        key = tuple(getattr(configuration, name) for name in SUBSET_NAMES)
        if key not in self._sizes:
            seed = split_seed(self._spec)
            assigned = assign_images(self._images.labels, self._spec.data, configuration, split_seed=seed)
            self._sizes[key] = len(assigned.train), len(assigned.validation)
        return self._sizes[key]
