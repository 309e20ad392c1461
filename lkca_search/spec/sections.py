"""Sections of a space file: data, training, search, confirm and limits."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from lkca_search.augmentations import augment_rule, expand_sets, parse_augment
from lkca_search.errors import SearchError
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.components import PRUNERS, SAMPLERS, ComponentConfig, name_rule
from lkca_search.spec.configuration import LENGTH_NAMES, Configuration
from lkca_search.spec.domains import Level
from lkca_search.spec.metrics import (
    Direction,
    Goal,
    Metric,
    MetricChoice,
    MetricChoices,
    check_choices,
    check_goals,
    find_metric,
    name_of,
    with_directions,
)
from lkca_search.spec.reading.limits import Limit, Limits, at_most, breaks, check_limit
from lkca_search.spec.reading.override import length_rule

_MAX_STEPS = at_most(10**9, "at 1 ms per step they take 12 days per trial")
_MAX_REPORTS = at_most(10_000, "each report takes 2,500 bytes, and a trial with as many takes 25 MB")
_ONE_PER_EPOCH = Limit(name="reports", maximum=10_000, reason="there is one report per epoch; give reports")
_MAX_TRIALS = at_most(100_000, "the sampler reads all trials of a cell before each suggestion")
_MAX_REPLICATES = at_most(1_000, "1,000 trainings make an interval 3% as wide as one")


class DataSection(FrozenModel):
    """Dataset, validation split and augmentation."""

    dataset: Annotated[str, Field(min_length=1)] | None = None
    """Name in the catalog (`data list`), `parquet:PATH` or `folder:PATH`; left out if `dataset` is a factor."""
    sources: Mapping[str, Annotated[str, Field(min_length=1)]] = {}
    """Place of a level of the factor `dataset` that is not in the catalog: `{birds: folder:/data/birds}`."""
    image_size: Annotated[int, Field(ge=1), at_most(1_024, "50,000 images of this size take 157 GB")] | None = None
    """Side in pixels to which images are resized and center-cropped; by default images keep their size."""
    max_pixels: Annotated[int, Field(ge=1), at_most(10**10, "one image of this size takes 30 GB")] | None = None
    """Most pixels (width x height) that an image file may have; by default 178,956,970, which is 0.5 GB as RGB."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Fraction of the training images held out per class, and never trained on."""
    scale_validation: bool = False
    """True if a trial uses the same (nested) fraction of the validation images as of the training images."""
    augment: tuple[str, ...] = ()
    """Augmentations of training images, or a named set of them; the order of the names does not matter."""

    @field_validator("augment", mode="before")
    @classmethod
    def _expand_sets(cls, names: Any) -> Any:
        if isinstance(names, str):
            return parse_augment(names)
        is_list = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
        return expand_sets(names) if is_list else names

    def place_of(self, level: str | None) -> str:
        """Return the place of the images of a level of the factor `dataset`, or of `data.dataset` if it is given."""
        name = self.dataset or level
        assert name is not None
        return self.sources.get(name, name)

    def of_dataset(self, level: str | None) -> Self:
        """Return the section of trials on one dataset, with the place of its images in `dataset`."""
        return self.model_copy(update={"dataset": self.place_of(level), "sources": {}})

    @field_validator("augment")
    @classmethod
    def _check_augment(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if rule := augment_rule(names):
            raise ValueError(rule)
        return names

    def of(self, configuration: Configuration) -> Self:
        """Return the section with the place of the configuration's dataset, and with its augmentations.

        A dataset that the section has already stays: it is the place of the same dataset.
        """
        update: dict[str, object] = {}
        if self.dataset is None and configuration.dataset is not None:
            update |= {"dataset": self.place_of(configuration.dataset), "sources": {}}
        if configuration.augment is not None:
            update["augment"] = parse_augment(configuration.augment)
        return self.model_copy(update=update) if update else self


class TrainingSection(FrozenModel):
    """Length of every trial, in one unit; a length in epochs may have a floor and a cap in steps.

    The section may leave the length to factors or parameters. That of a trial always has one.
    """

    epochs: (
        Annotated[int, Field(ge=1), at_most(1_000_000, "trainings in the literature have at most 10,000")] | None
    ) = None
    """Passes over the training subset."""
    steps: Annotated[int, Field(ge=1), _MAX_STEPS] | None = None
    """Optimizer steps."""
    samples: Annotated[int, Field(ge=1), at_most(10**12, "at 1,000,000 images per second they take 12 days")] | None = (
        None
    )
    """Training images seen, rounded up to full batches."""
    min_steps: Annotated[int, Field(ge=1), _MAX_STEPS] | None = None
    """Minimum optimizer steps of a length in epochs: few images make few steps per epoch, too few to fit them."""
    max_steps: Annotated[int, Field(ge=1), _MAX_STEPS] | None = None
    """Maximum optimizer steps of a length in epochs: it limits the cost of large subsets."""
    batch_size: Annotated[int, Field(ge=1), at_most(65_536, "batches in the literature have at most 65,536 images")] = (
        128
    )
    """Images per step; a subset with fewer images is one batch."""
    reports: Annotated[int, Field(ge=1), _MAX_REPORTS] | None = None
    """Evaluations per trial, evenly spaced; by default one per epoch if the length is epochs alone, else 20."""
    deterministic: Literal["strict", "warn"] = "strict"
    """`strict`: an operation that has no deterministic implementation on the GPU fails its trial. `warn`: it runs, and
    the record lists it; a rerun may then differ."""
    patience: Annotated[int, Field(ge=1), _MAX_REPORTS] | None = None
    """Evaluations in a row without a better value of the leading metric after which a trial ends early, as complete."""

    @property
    def num_reports(self) -> int:
        """Evaluations per trial; a trial with fewer steps has one per step."""
        if self.reports is not None:
            return self.reports
        return self.epochs if self.epochs is not None and not self.has_bounds else 20

    @property
    def unit(self) -> str | None:
        """Unit of the length: epochs, steps or samples; None if the section leaves it to factors or parameters."""
        return next((name for name in LENGTH_NAMES if getattr(self, name) is not None), None)

    @property
    def has_bounds(self) -> bool:
        """True if the length in epochs has a floor or a cap in steps."""
        return self.min_steps is not None or self.max_steps is not None

    def of(self, configuration: Configuration) -> Self:
        """Return the section with the configuration's batch size and length in place of its own."""
        update: dict[str, object] = {}
        if configuration.batch_size is not None:
            update["batch_size"] = configuration.batch_size
        lengths = {name: getattr(configuration, name) for name in LENGTH_NAMES}
        if any(length is not None for length in lengths.values()):
            bounds = {} if lengths["epochs"] is not None else {"min_steps": None, "max_steps": None}
            update |= {**lengths, **bounds}
        return self.model_copy(update=update) if update else self

    @field_validator("min_steps", "max_steps")
    @classmethod
    def _check_bound(cls, bound: int | None, info: ValidationInfo) -> int | None:
        """Check a bound; fields that break their own rules are not in `info.data`."""
        if bound is None:
            return None
        if info.data.get("epochs", bound) is None and any(info.data.get(name) for name in ("steps", "samples")):
            raise ValueError(
                f"{info.field_name} must be given with epochs, whose steps it bounds, got {bound} without epochs"
            )
        floor = info.data.get("min_steps")
        if info.field_name == "max_steps" and floor is not None and bound < floor:
            raise ValueError(f"max_steps must be at least min_steps ({floor}), got {bound}")
        return bound

    @field_validator("reports")
    @classmethod
    def _check_reports(cls, reports: int | None, info: ValidationInfo) -> int | None:
        """Check that a trial can have as many reports. Its steps are at most these numbers, whatever its images."""
        if reports is None:
            is_bounded = any(info.data.get(name) is not None for name in ("min_steps", "max_steps"))
            if not is_bounded and breaks(info.context, _ONE_PER_EPOCH, info.data.get("epochs") or 0):
                rule = _ONE_PER_EPOCH.rule("epochs without reports", f"{info.data['epochs']:,}")
                raise ValueError(rule)
            return None
        for name in ("steps", "max_steps", "samples"):
            most = info.data.get(name)
            if most is not None:
                reason = f"a report follows a step, and {name} is {most:,}"
                check_limit(info.context, Limit(name="reports", maximum=most, reason=reason), reports)
        return reports

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        if (rule := length_rule(self.model_dump(), LENGTH_NAMES)) is not None:
            raise ValueError(rule)
        return self


class SearchSection(FrozenModel):
    """Search of each cell, and the metric by which trials are compared."""

    sampler: ComponentConfig = ComponentConfig(name="tpe")
    """Optuna sampler of every cell's study, with constructor arguments: {name: tpe, n_startup_trials: 20}."""
    pruner: ComponentConfig = ComponentConfig(name="none")
    """Optuna pruner of every cell's study; it compares trials of one cell only, and its steps are reports."""
    trials_per_cell: Annotated[int, Field(ge=1), _MAX_TRIALS]
    """Trials per cell, the same for every cell."""
    start: tuple[Mapping[str, Level], ...] = ()
    """Known configurations for the first trials of each cell in which their names exist."""
    repeats: Annotated[int, Field(ge=1), at_most(1_000, "an interval over 1,000 repeats is 3% as wide as over one")] = 1
    """Number of searches per cell, each on another subset draw; short for the factor `draw`."""
    metric: MetricChoices = "val_accuracy"
    """Number by which trials are compared, as last reported. Several make a Pareto front; the first one leads."""
    goal: Goal | None = None
    """Better direction of the metric, or of each metric; by default it follows from the metric."""
    also_measure: tuple[MetricChoice, ...] = ()
    """Further metrics, which stand in the records and the report and decide nothing."""
    seed: Annotated[int, Field(ge=0), at_most(2**128, "generators take at most 128 bits")] = 0
    """Seed from which every other seed of the search is derived."""
    max_retries: Annotated[int, Field(ge=0), at_most(10_000, "a trial that lost as many workers does not finish")] = 3
    """Maximum number of times that a trial whose worker was lost (node failure, out of memory) is resumed."""
    checkpoint_seconds: Annotated[float, Field(ge=0), at_most(10**9, "it is 30 years, so that none is saved")] = 30.0
    """Minimum seconds of training between checkpoints, which follow a report; 0 saves one at every report."""

    @property
    def metric_choices(self) -> tuple[MetricChoice, ...]:
        """Every metric that trials are compared by; the first one leads."""
        return self.metric if isinstance(self.metric, tuple) else (self.metric,)

    @property
    def measured(self) -> tuple[MetricChoice, ...]:
        """Metrics that every training measures, the leading one first."""
        return (*self.metric_choices, *self.also_measure)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Name of every metric. The first one leads: it decides the best trial, and its value is shown for a trial."""
        return tuple(name_of(metric) for metric in self.metric_choices)

    @property
    def definitions(self) -> tuple[Metric, ...]:
        """Direction, label, unit and scale of each metric."""
        return tuple(find_metric(metric) for metric in self.metric_choices)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Better direction of each metric."""
        return tuple(metric.direction for metric in self.definitions)

    @property
    def signs(self) -> tuple[int, ...]:
        """1 per metric to be maximized, -1 per metric to be minimized."""
        return tuple(metric.sign for metric in self.definitions)

    @field_validator("sampler", "pruner")
    @classmethod
    def _check_name(cls, component: ComponentConfig, info: ValidationInfo) -> ComponentConfig:
        assert info.field_name is not None
        if rule := name_rule(info.field_name, component.name, SAMPLERS if info.field_name == "sampler" else PRUNERS):
            raise ValueError(rule)
        return component

    @model_validator(mode="after")
    def _check_metrics_and_goals(self) -> Self:
        goals = (self.goal,) if self.goal is None or isinstance(self.goal, str) else self.goal
        directed = with_directions(self.metric_choices, goals)
        object.__setattr__(self, "metric", directed if isinstance(self.metric, tuple) else directed[0])
        check_choices(self.metric_choices, self.also_measure)
        if self.goal is None:
            # A spec is equal with and without a written goal, and its JSON always has one.
            derived = self.directions
            object.__setattr__(self, "goal", derived[0] if len(derived) == 1 else derived)
        else:
            check_goals(self.metric_choices, goals)
        return self


class ConfirmSection(FrozenModel):
    """Confirmation: the best configurations are retrained on fresh draws with fresh seeds, and tested."""

    draws: Annotated[int, Field(ge=1), _MAX_REPLICATES] = 5
    """Subset draws that the search has not trained on; one per repeat if the search is repeated."""
    seeds: Annotated[int, Field(ge=1), _MAX_REPLICATES] = 2
    """Trainings per draw, each with another seed."""
    top: Annotated[int, Field(ge=1), _MAX_REPLICATES] = 1
    """Configurations per cell, best first."""

    def with_requested(self, values: Mapping[str, int]) -> Self:
        """Return the section with values of the command line; SearchError if one is over its limit."""
        try:
            ConfirmSection.model_validate(dict(values), context=Limits.from_environment())
        except ValidationError as error:
            raise SearchError(error.errors()[0]["msg"]) from error
        return self.model_copy(update=values)


class LimitsSection(FrozenModel):
    """Limits at which a search stops before its budget is spent. The same command resumes it."""

    hours: Annotated[float, Field(gt=0), at_most(100_000, "it is 11 years; leave it out for no limit")] | None = None
    """Hours of one driver after which no trial or replicate starts; running ones finish."""
    max_failures: (
        Annotated[int, Field(ge=0), at_most(1_000_000, "no search has as many trials; leave it out for no limit")]
        | None
    ) = None
    """Maximum number of failed trials of the search, or failed replicates of a round; above it, none starts."""
    plateau: Annotated[int, Field(ge=1), _MAX_TRIALS] | None = None
    """Complete trials in a row without a better value after which a cell starts no new trial."""
