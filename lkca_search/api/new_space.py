"""New space file: a commented text from four answers (dataset, families, sizes of the training set, budget)."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lkca_search.errors import DataError, UserError
from lkca_search.layout import Home, local_data_dir
from lkca_search.spec.configuration import FAMILY_NAMES, family_rule

if TYPE_CHECKING:
    from lkca_search.data.readers.decoded import ListedLabels
    from lkca_search.data.sources import Source

_VALIDATION = 0.2
"""Fraction of the training images that is held out."""
_TINY = "digits"
"""Dataset of images of 8 pixels, which need small patches."""
_NOT_MIRRORED = ("digits", "svhn")
_WITH_KERNELS = ("lkca", "lkca_grouped", "lkca_depthwise", "convmixer")
_ON_PATCHES = ("lkca", "lkca_grouped", "lkca_depthwise", "vit", "lka", "pool", "identity", "timm_vit")


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """Size of models and length of trainings that suit a number of images.

    The floor in steps is at most a few hundred epochs: the 2,000 steps of large datasets are 2,000 epochs of 45 photos.
    """

    parameters: str
    depths: str
    min_steps: int
    max_steps: int
    batch_size: int
    reports: int


_FEW = _Scale(parameters="45k", depths="[1, 2]", min_steps=200, max_steps=1000, batch_size=16, reports=10)
_SOME = _Scale(parameters="45k", depths="[2, 4]", min_steps=400, max_steps=2000, batch_size=64, reports=20)
_MANY = _Scale(parameters="300k", depths="[2, 4]", min_steps=2000, max_steps=15000, batch_size=128, reports=20)
_FEW_IMAGES, _SOME_IMAGES = 500, 5000
SCHEMA = "space.schema.json"
"""Name of the file with the JSON Schema, in the folder of a space file."""


@dataclass(frozen=True, kw_only=True)
class NewSpace:
    """Answers from which a space file is written."""

    dataset: str = _TINY
    """Name in the catalog, `parquet:PATH`, `folder:PATH` or the dotted path of your own function."""
    num_images: int | None = None
    """Training images of the dataset, with those for validation; None if it is unknown: then there are many."""
    families: tuple[str, ...] = ("lkca", "vit")
    """Model families to compare."""
    fractions: tuple[float, ...] = (0.1, 1.0)
    """Fractions of the training images."""
    trials: int = 6
    """Trials per cell."""
    has_schema: bool = False
    """True if the first line names the JSON Schema in the same folder, for an editor."""

    def text(self, file: str) -> str:
        """Return the space file. `file` is its name, for the commands in its comments."""
        families = " and ".join(filter(None, (", ".join(self.families[:-1]), self.families[-1])))
        fractions = ", ".join(f"{fraction:.4g}" for fraction in self.fractions)
        sizes = " and ".join(f"{fraction:.4%}".rstrip("0%").rstrip(".") + "%" for fraction in self.fractions)
        augment = "[crop]" if self.dataset in _NOT_MIRRORED else "[crop, flip]"
        lines = [
            *([f"# yaml-language-server: $schema={SCHEMA}"] if self.has_schema else []),
            f"# Question:  how accurate are {families} on {self.dataset}, with {sizes} of the training images?",
            f"# Commands:  lkca-search plan {shlex.quote(file)}    # cells, cost and duration; nothing is trained",
            f"#            lkca-search run {shlex.quote(file)}     # the same command resumes it",
            "data:",
            f"  dataset: {_quoted(self.dataset)}",
            *(["  image_size: 32           # images are scaled and cropped to squares"] if ":" in self.dataset else []),
            f"  validation: {_VALIDATION}          # fraction of the training images that chooses, never trained on",
            *self._scaled_validation(),
            f"  augment: {augment}",
            "factors:                   # each combination of levels is a cell; all cells have the same budget",
            f"  family: [{', '.join(self.families)}]   # `lkca-search models` lists all",
            f"  data_fraction: [{fractions}]",
            "parameters:                # searched in each cell in which `when` holds; `value` is not searched",
            *self._parameters(),
            "  learning_rate: {float: [1.0e-3, 1.0e-2], log: true}",
            *self._training(),
            "search:",
            f"  trials_per_cell: {self.trials}",
            "  sampler: tpe             # or random, qmc, gp, cmaes, nsga2, grid",
            "  pruner: none             # or median, hyperband, curves, ...: stops trials that fall behind",
            "  metric: val_accuracy",
            "  seed: 0",
            *self._confirmation(),
            "resources: {cpu: 1}        # add gpu: 0.25 to train 4 trials per GPU",
        ]
        return "\n".join(lines) + "\n"

    @property
    def _scale(self) -> _Scale:
        if self.num_images is None or self.num_images >= _SOME_IMAGES:
            return _MANY
        return _FEW if has_few(self.num_images) else _SOME

    def _scaled_validation(self) -> list[str]:
        if has_few(self.num_images):  # a share of them would choose by two or three images
            return []
        return ["  scale_validation: true   # a tenth of the training images has a tenth of the validation images"]

    def _training(self) -> list[str]:
        count = "" if self.num_images is None else f", for {self.num_images:,} images"
        steps = f"min_steps: {self._scale.min_steps}, max_steps: {self._scale.max_steps}"
        rest = f"batch_size: {self._scale.batch_size}, reports: {self._scale.reports}"
        return [
            f"training:                  # length of each trial: epochs, within bounds in steps{count}",
            f"  {{epochs: 60, {steps}, {rest}}}",
        ]

    def _confirmation(self) -> list[str]:
        """Return the section with enough draws for a result; subsets of all images are equal."""
        lines = ["confirm:                   # the best of each cell, trained again on 5 random subsets, and tested"]
        if self.fractions[-1] == 1:
            lines.append("  # subsets of all images are equal: these 5 trainings differ by their seeds alone")
        return [*lines, "  {draws: 5, seeds: 1}     # more draws and seeds find smaller differences"]

    def _parameters(self) -> list[str]:
        kernels, patches, sized = (
            [family for family in self.families if family in names]
            for names in (_WITH_KERNELS, _ON_PATCHES, FAMILY_NAMES)
        )
        lines = []
        if kernels:
            lines.append(f"  kernel_size: {{choice: [3, 5, 7], {self._when(kernels)}}}")
        if patches and self.dataset == _TINY:
            lines.append(f"  patch_size: {{value: 2, {self._when(patches)}}}")
        if sized:
            size = self._scale.parameters
            lines.append(f"  depth: {{int: {self._scale.depths}, {self._when(sized)}}}")
            lines.append(f"  match_parameters: {{value: {size}, {self._when(sized)}}}   # sets the width: equal sizes")
        return [line.replace(", }", "}") for line in lines]

    def _when(self, families: Sequence[str]) -> str:
        """Return the condition on some of the families; an empty text if it holds for all."""
        return "" if tuple(families) == self.families else f"when: {{family: [{', '.join(families)}]}}"


def has_few(num_images: int | None) -> bool:
    """Return True if a dataset has so few training images that a tenth of them trains nothing."""
    return num_images is not None and num_images < _FEW_IMAGES


def _quoted(text: str) -> str:
    """Return a text of YAML, in quotes if it has other characters than letters, digits and those of a path."""
    is_plain = all(letter.isalnum() or letter in "_-./" for letter in text)
    return text if is_plain else "'" + text.replace("'", "''") + "'"


class FoundDataset(NamedTuple):
    """Dataset that exists, as far as it is known without decoding an image."""

    name: str
    num_images: int | None
    """Training images; None for your own code, which would have to load them."""
    listed: "ListedLabels | None"
    """Labels of the training images, in classes of equal size for a published dataset; None for your own code."""
    test_fault: str | None
    """Fault of the test images, which only a confirmation needs; None if there is none."""


def parse_dataset(text: str, home: Home) -> FoundDataset:
    """Return a dataset by its name or path; UserError if there is none, or if a search could not use it.

    No image is decoded.
    """
    from lkca_search.data.sources import find_source, readable
    from lkca_search.data.subsets import hold_out, named_rule

    source = find_source(text, data_dir=local_data_dir(), cache=home.datasets)
    with readable(text):
        count = source.count("train")
        listed = source.list_labels() or _published_labels(text, count)
        found = FoundDataset(text, count, listed, _test_fault(source))
    try:
        if listed is not None:
            hold_out(listed.labels, fraction=_VALIDATION, seed=0)
    except DataError as error:
        raise UserError(f"{named_rule(error, listed.class_names if listed else ())} (dataset {text})") from error
    return found


def _published_labels(name: str, count: int | None) -> "ListedLabels | None":
    """Return labels of a published dataset as if its classes had equal size; None for another dataset."""
    import numpy as np

    from lkca_search.data.catalog import CATALOG
    from lkca_search.data.readers.decoded import ListedLabels

    if name not in CATALOG or count is None:
        return None
    return ListedLabels(np.arange(count, dtype=np.int64) % CATALOG[name].num_classes, ())


def _test_fault(source: "Source") -> str | None:
    try:
        source.check_test_classes()
    except DataError as error:
        return f"{error}; add them, or remove the section confirm, which needs test images"
    return None


def parse_families(text: str) -> tuple[str, ...]:
    """Return the families of a list `lkca, vit`; UserError if one is unknown or given twice."""
    names = _split(text, "families")
    for name in names:
        if rule := family_rule(name):
            raise UserError(rule)
    return names


def parse_fractions(text: str, dataset: FoundDataset | None = None) -> tuple[float, ...]:
    """Return the fractions of a list `0.1, 1`, in ascending order.

    Raises:
        UserError: A fraction is not above 0 and at most 1, is given twice, or leaves a class of `dataset` no image.
    """
    try:
        fractions = tuple(sorted(float(part) for part in text.strip().strip("[]").split(",")))
    except ValueError:
        fractions = ()
    if not fractions or not all(0 < fraction <= 1 for fraction in fractions):
        raise UserError(f"fractions must be numbers above 0 and at most 1, separated by commas, got {text!r}")
    if len(set(fractions)) < len(fractions):
        raise UserError(f"fractions must be distinct, got {text!r}; remove one of the equal ones")
    if dataset is not None and dataset.listed is not None:
        _check_subsets(fractions, dataset.listed)
    return fractions


def _check_subsets(fractions: Sequence[float], listed: "ListedLabels") -> None:
    """Raise UserError unless each fraction leaves every class an image, and no two leave the same number of images."""
    from lkca_search.data.subsets import draw_subset, hold_out, named_rule

    indices = hold_out(listed.labels, fraction=_VALIDATION, seed=0).train
    first: dict[int, float] = {}
    for fraction in fractions:
        try:
            count = len(draw_subset(listed.labels, indices, fraction=fraction, seed=0))
        except DataError as error:
            raise UserError(f"fractions: {named_rule(error, listed.class_names)}") from error
        if (other := first.setdefault(count, fraction)) != fraction:
            rule = "fractions must give different numbers of training images"
            raise UserError(f"{rule}, got {count} for {other:g} and for {fraction:g}; remove one of them")


def parse_trials(text: str) -> int:
    """Return the number of trials per cell; UserError if it is no positive integer."""
    if not text.strip().isdecimal() or not 1 <= int(text) <= 100_000:
        raise UserError(f"trials must be an integer from 1 to 100,000, got {text!r}")
    return int(text)


def _split(text: str, name: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.strip().strip("[]").split(","))
    if "" in parts or len(set(parts)) < len(parts):
        raise UserError(f"{name} must be different names separated by commas, got {text!r}")
    return parts
