"""Workload of a trial: its steps, images, operations and bytes, independent of the machine."""

from collections.abc import Iterator
from dataclasses import dataclass

from lkca_search.data.batches import count_batches, largest_batch
from lkca_search.data.store import Images
from lkca_search.data.subsets import assign_images
from lkca_search.errors import UserError
from lkca_search.models.cost import Cost
from lkca_search.models.registry import model_cost
from lkca_search.search.planning.space_size import extreme_configurations
from lkca_search.search.state.manifests import split_seed
from lkca_search.spec.cells import cells
from lkca_search.spec.configuration import SUBSET_NAMES, Configuration, UsedPrecision
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.training.recipe.precision import plan_numerics
from lkca_search.training.recipe.schedule import Schedule

WORKER_BYTES = 440_000_000
"""Memory of a worker process that has imported torch and does not train."""
CUDA_CONTEXT_BYTES = 600_000_000
"""GPU memory of a process before its first tensor: context, kernels, workspaces. A guess, not measured."""
_FLOAT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Work of one trial."""

    configuration: Configuration
    """Configuration to train."""
    num_train_images: int
    num_validation_images: int
    batch_size: int
    """Images per step: as in the space file or the configuration, or all images of a smaller subset."""
    steps: int
    """Number of optimizer steps."""
    samples: int
    """Training images seen in all steps."""
    num_reports: int
    """Number of evaluations, each on all validation images."""
    cost: Cost
    """Parameters, operations and memory of the model."""
    precision: UsedPrecision
    """Planned type of matrix products and convolutions."""
    compiled: bool
    """True if the model is planned to be compiled."""

    @property
    def kind(self) -> str:
        """Family, precision and compilation: workloads of one kind have one line of seconds per operation."""
        compiled = ", compiled" if self.compiled else ""
        return f"{self.configuration.family} in {self.precision}{compiled}"

    @property
    def step_flops(self) -> float:
        """Operations per step: three forward passes per image."""
        return 3 * self.cost.flops * self.samples / self.steps

    @property
    def epochs(self) -> float:
        """Passes over the training images."""
        return self.samples / self.num_train_images

    @property
    def num_evaluated(self) -> int:
        """Validation images seen in all evaluations."""
        return self.num_reports * self.num_validation_images

    @property
    def total_flops(self) -> int:
        """Operations of the trial: three forward passes per training image, one per validation image."""
        return self.cost.flops * (3 * self.samples + self.num_evaluated)

    @property
    def memory_bytes(self) -> int:
        """Memory of a worker: four numbers per parameter (weight, gradient, two moments of AdamW), and activations."""
        return WORKER_BYTES + 4 * _FLOAT_BYTES * self.cost.num_parameters + self.cost.activation_bytes

    def gpu_bytes(self, images: Images) -> int:
        """Return the GPU memory: the context, model and activations as in `memory_bytes`, and the images."""
        image_bytes = (self.num_train_images + self.num_validation_images) * images.pixels.nbytes // len(images)
        return CUDA_CONTEXT_BYTES + self.memory_bytes - WORKER_BYTES + image_bytes

    @property
    def checkpoint_bytes(self) -> int:
        """Size of a checkpoint: three numbers per parameter (weight, two moments of AdamW)."""
        return 3 * _FLOAT_BYTES * self.cost.num_parameters


def largest_gpu_bytes(spec: SearchSpec, images: Images) -> int:
    """Return the GPU memory of the largest trial of a search."""
    factory = WorkloadFactory(spec, images)
    return max(
        (
            workload.gpu_bytes(images)
            for cell in cells(spec)
            for workload in factory.make_all(extreme_configurations(spec, cell))
        ),
        default=CUDA_CONTEXT_BYTES,
    )


class WorkloadFactory:
    """Factory of the workloads of a search. It computes each subset size once."""

    def __init__(self, spec: SearchSpec, images: Images) -> None:
        """Create a factory for the training images of a search."""
        self._spec = spec
        self._images = images
        self._sizes: dict[tuple[object, ...], tuple[int, int]] = {}

    def make(self, configuration: Configuration) -> Workload:
        """Return the workload of a configuration.

        Raises:
            UserError: The configuration cannot be trained.
        """
        training = self._spec.training.of(configuration)
        num_train, num_validation = self._size(configuration)
        batch_size = min(training.batch_size, num_train)
        schedule = Schedule.plan(training, configuration, num_images=num_train)
        epochs, rest = divmod(schedule.steps, count_batches(num_train, batch_size))
        numerics = plan_numerics(configuration, uses_gpu=self._spec.resources.uses_gpu, steps=schedule.steps)
        return Workload(
            configuration=configuration,
            num_train_images=num_train,
            num_validation_images=num_validation,
            batch_size=batch_size,
            steps=schedule.steps,
            samples=epochs * num_train + rest * batch_size,
            num_reports=len(schedule.reports),
            cost=self._cost(configuration, largest_batch(num_train, batch_size), numerics.precision),
            precision=numerics.precision,
            compiled=numerics.compiled,
        )

    def make_all(self, configurations: list[Configuration]) -> Iterator[Workload]:
        """Yield the workloads of all configurations that can be trained."""
        for configuration in configurations:
            try:
                yield self.make(configuration)
            except UserError:
                continue  # only the edges of long ranges are checked; this trial fails at its start

    def _cost(self, configuration: Configuration, batch_size: int, precision: UsedPrecision) -> Cost:
        shape, num_classes = self._images.shape, len(self._images.class_names)
        return model_cost(configuration, shape, num_classes, batch_size=batch_size, precision=precision)

    def _size(self, configuration: Configuration) -> tuple[int, int]:
        """Return the numbers of training and validation images."""
        key = tuple(getattr(configuration, name) for name in SUBSET_NAMES)
        if key not in self._sizes:
            seed = split_seed(self._spec)
            holdout = assign_images(self._images.labels, self._spec.data, configuration, split_seed=seed)
            self._sizes[key] = len(holdout.train), len(holdout.validation)
        return self._sizes[key]
