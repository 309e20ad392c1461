"""Check of the own code of a space file against its laws, before a search starts."""

import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch

from lkca_search.data.store import Images
from lkca_search.errors import Location, Problem, UserError
from lkca_search.own_code import Kind, is_dotted, load_own
from lkca_search.records.tables import COLUMNS
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.space_file import SpaceFile
from lkca_search.training.device import configure_torch
from lkca_search.training.images import DataDirs
from lkca_search.training.laws.augmentation_laws import check_augmentation
from lkca_search.training.laws.model_laws import BrokenLaw, check_model
from lkca_search.training.laws.training_laws import check_training, few_images, short_trial
from lkca_search.training.metrics import check_metrics

_SECTIONS = {"augment": ("data", "augment"), "dataset": ("data", "dataset"), "metric": ("search", "metric")}
_MAX_CHECKED = 4
"""Maximum number of configurations per combination of own code at which a model is checked."""
_SEARCHED: tuple[Kind, ...] = ("sampler", "pruner")
"""Kinds that `check_space` checks."""


def check_own_code(
    space_file: SpaceFile,
    images: Mapping[str | None, Images],
    data_dirs: DataDirs,
    configurations: Iterable[Configuration],
) -> list[str]:
    """Check the metrics and the own code that a space file names; return warnings.

    Each model is checked at up to four of the configurations. The first one per combination of own code is trained for
    three steps, on a few images of its dataset; `images` are those of each dataset, as in `check_space`.

    Raises:
        SpaceFileError: Code cannot be imported or breaks a law, with the position of its name.
    """
    spec = space_file.spec
    for opened in images.values():
        check_metrics(space_file, opened)
    named = [(kind, path) for kind, path in spec.own_code() if kind not in _SEARCHED]
    if not named:
        return []
    problems = list(_name_problems(spec))
    for kind, path in named:
        try:
            load_own(kind, path)
        except UserError as error:
            problems.append(Problem(_location(spec, kind, path), str(error)))
    if problems:
        raise space_file.error(problems)
    few = {level: few_images(opened) for level, opened in images.items()}
    warnings: list[str] = []
    with _deterministic():
        for kind, path in named:
            if kind == "augment":
                _check(space_file, [(kind, path)], partial(check_augmentation, path, _batch(next(iter(few.values())))))
        num_checked: Counter[tuple[str, ...]] = Counter()
        for configuration in configurations:
            trial = short_trial(spec, configuration)
            paths = tuple(trial.own_code())
            if not paths or num_checked[paths] >= _MAX_CHECKED:
                continue
            num_checked[paths] += 1
            opened = images[configuration.dataset]
            if is_dotted(configuration.family):
                found = check_model(configuration, opened.shape, len(opened.class_names))
                _check(space_file, [("family", configuration.family)], partial(warnings.extend, found))
            if num_checked[paths] == 1:
                used = [(kind, path) for kind, path in named if path in paths]
                _check(space_file, used, partial(check_training, trial, few[configuration.dataset], data_dirs))
    return list(dict.fromkeys(warnings))


def _name_problems(spec: SearchSpec) -> Iterator[Problem]:
    for name in spec.own_names:
        if name in COLUMNS:
            section = "factors" if name in spec.factors else "parameters"
            rule = "a name of your own must not be a column of the tables of a search"
            yield Problem((section, name), f"{rule}, got {name!r}: add a prefix")


def _check(space_file: SpaceFile, used: list[tuple[Kind, str]], law: Callable[[], None]) -> None:
    """Raise SpaceFileError if a law is broken, at the name of the code that raised the error, or else the first."""
    try:
        law()
    except BrokenLaw as error:
        files = {frame.filename for frame in traceback.extract_tb((error.__cause__ or error).__traceback__)}
        culprits = [(kind, path) for kind, path in used if _file_of(path) in files] or used
        kind, path = culprits[0]
        name = "" if path in str(error) else f"{' and '.join(f'{each} {name}' for each, name in culprits)}: "
        problem = Problem(_location(space_file.spec, kind, path), f"{name}{error}")
        raise space_file.error([problem]) from error


def _file_of(path: str) -> str | None:
    return getattr(sys.modules.get(path.rpartition(".")[0]), "__file__", None)


def _location(spec: SearchSpec, kind: Kind, path: str) -> Location:
    """Return the location of a dotted path in the space file."""
    if kind in spec.factors:
        for i, level in enumerate(spec.factors[kind].levels):
            if path in str(level):
                return ("factors", kind, "levels", i)
    if kind in spec.parameters:
        return ("parameters", kind)
    if kind == "augment" and path in spec.data.augment:
        return ("data", "augment", spec.data.augment.index(path))
    return _SECTIONS.get(kind, ("search", kind))


def _batch(images: Images) -> torch.Tensor:
    """Return up to 8 images, uint8 (B, C, H, W), strided as in a training."""
    return torch.from_numpy(images.pixels[:8].copy()).permute(0, 3, 1, 2)


@contextmanager
def _deterministic() -> Iterator[None]:
    """Set torch as in a trial with one thread, and restore its settings."""
    num_threads, was_deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    configure_torch(num_threads=1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
        torch.use_deterministic_algorithms(was_deterministic)
