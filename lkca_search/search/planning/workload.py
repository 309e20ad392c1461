"""Workload of a trial: its steps, images, operations and bytes, independent of the machine."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lkca_search.data.batches import count_batches, largest_batch
from lkca_search.data.store import Images
from lkca_search.data.subsets import assign_images
from lkca_search.errors import UserError
from lkca_search.models.cost import Cost
from lkca_search.models.registry import model_cost
from lkca_search.search.planning.space_size import extreme_configurations
from lkca_search.search.state.manifests import split_seed
from lkca_search.spec.cells import cells, specs_by_dataset
from lkca_search.spec.configuration import SUBSET_NAMES, Configuration, UsedPrecision
from lkca_search.spec.recipe.rules import num_moments
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
        """Family, precision, compilation and the level of `augment`: one kind has one line of seconds per operation.

        Augmentations take time and no counted operation: on a CPU, the policies take as long as a small model.
        """
        compiled = ", compiled" if self.compiled else ""
        augment = f", augment {self.configuration.augment}" if self.configuration.augment is not None else ""
        return f"{self.configuration.family} in {self.precision}{compiled}{augment}"

    @property
    def size(self) -> tuple[str | None, int]:
        """Dataset and number of training images."""
        return self.configuration.dataset, self.num_train_images

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
        """Memory of a worker: the numbers of a checkpoint, a gradient per parameter, and activations."""
        gradients = _FLOAT_BYTES * self.cost.num_parameters
        return WORKER_BYTES + self.checkpoint_bytes + gradients + self.cost.activation_bytes

    def gpu_bytes(self, images: Images) -> int:
        """Return the GPU memory: the context, model and activations as in `memory_bytes`, and the images."""
        image_bytes = (self.num_train_images + self.num_validation_images) * images.pixels.nbytes // len(images)
        return CUDA_CONTEXT_BYTES + self.memory_bytes - WORKER_BYTES + image_bytes

    @property
    def bytes_per_parameter(self) -> int:
        """Bytes per parameter: weight, gradient, moments of the optimizer, and the average."""
        return self.checkpoint_bytes // self.cost.num_parameters + _FLOAT_BYTES

    @property
    def weights_bytes(self) -> int:
        """Size of a kept model: its weights in float32. Buffers, such as those of BatchNorm, are not counted."""
        return _FLOAT_BYTES * self.cost.num_parameters

    @property
    def checkpoint_bytes(self) -> int:
        """Size of a checkpoint: per parameter its weight, the moments of the optimizer, and the average."""
        numbers = 1 + num_moments(self.configuration) + (self.configuration.ema_decay > 0)
        return numbers * _FLOAT_BYTES * self.cost.num_parameters


def sizes_with_unequal_lengths(workloads: Iterable[Workload]) -> set[tuple[str | None, int]]:
    """Return the sizes at which workloads see different numbers of images; one batch more or less is no difference."""
    by_size: dict[tuple[str | None, int], list[Workload]] = {}
    for workload in workloads:
        by_size.setdefault(workload.size, []).append(workload)
    return {
        size
        for size, alike in by_size.items()
        if max(each.samples for each in alike) - min(each.samples for each in alike)
        > max(each.batch_size for each in alike)
    }


def largest_gpu_bytes(spec: SearchSpec, images: Mapping[str | None, Images]) -> int:
    """Return the GPU memory of the largest trial of a search, on the dataset that needs the most."""
    factories = {level: WorkloadFactory(part, images[level]) for level, part in specs_by_dataset(spec).items()}
    return max(
        (
            workload.gpu_bytes(images[level])
            for level, factory in factories.items()
            for cell in cells(factory.spec)
            for workload in factory.make_all(extreme_configurations(factory.spec, cell))
        ),
        default=CUDA_CONTEXT_BYTES,
    )


class WorkloadFactory:
    """Factory of the workloads of a search with one dataset. It computes each subset size once."""

    def __init__(self, spec: SearchSpec, images: Images) -> None:
        """Create a factory for the training images of a search."""
        self.spec = spec
        self._images = images
        self._sizes: dict[tuple[object, ...], tuple[int, int]] = {}

    def make(self, configuration: Configuration) -> Workload:
        """Return the workload of a configuration.

        Raises:
            UserError: The configuration cannot be trained.
        """
        training = self.spec.training.of(configuration)
        num_train, num_validation = self._size(configuration)
        batch_size = min(training.batch_size, num_train)
        schedule = Schedule.plan(training, configuration, num_images=num_train)
        epochs, rest = divmod(schedule.steps, count_batches(num_train, batch_size))
        numerics = plan_numerics(configuration, uses_gpu=self.spec.resources.uses_gpu, steps=schedule.steps)
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
            seed = split_seed(self.spec)
            holdout = assign_images(self._images.labels, self.spec.data, configuration, split_seed=seed)
            self._sizes[key] = len(holdout.train), len(holdout.validation)
        return self._sizes[key]
