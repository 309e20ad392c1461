"""Made-up search results: trials, a sealed round, and replicates with accuracies that a test chooses."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.record import Record, State, TestResult
from lkca_search.records.rounds import Pick, Round
from lkca_search.records.trial import Replication, TrialSpec
from lkca_search.spec.cells import Cell, cells
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.factors import repeats_of
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import DataSection, TrainingSection
from tests.support.records import FACTS, make_result

FRACTIONS = (0.02, 0.05, 0.1, 0.25, 0.5)
NUM_IMAGES = 18_000
Accuracy = Callable[[str, int, int, int], float | None]
"""Test accuracy, 0 to 1, by family, training images, draw and seed; None for a missing replicate."""


def law(*, lead: float = 0.0, draw_spread: float = 0.01, seed_spread: float = 0.005, noise: int = 0) -> Accuracy:
    """Return accuracies with error 0.1 + 3 n^-0.4, lower by `lead` for lkca.

    The noise of a draw is the same for all families; the noise of a seed is independent for each of them.
    """

    def accuracy(family: str, images: int, draw: int, seed: int) -> float:
        shared = np.random.default_rng([noise, images, draw]).normal(0, draw_spread)
        own = np.random.default_rng([noise, images, draw, seed, len(family)]).normal(0, seed_spread)
        error = 0.1 + 3 * images**-0.4 + shared + own - (lead if family == "lkca" else 0.0)
        return float(1 - np.clip(error, 0, 1))

    return accuracy


def make_spec(families: Sequence[str], fractions: Sequence[float], **changes: Any) -> SearchSpec:
    return SearchSpec.model_validate(
        {
            "data": {"dataset": "digits"},
            "factors": {"family": tuple(families), "data_fraction": tuple(fractions)},
            "parameters": {"patch_size": {"value": 2}, "learning_rate": {"float": (1e-4, 1e-2), "log": True}},
            "training": {"steps": 20, "reports": 2},
            "search": {"trials_per_cell": 3},
            "confirm": {"draws": 5, "seeds": 2},
            **changes,
        }
    )


def make_search_results(
    accuracy: Accuracy | None,
    *,
    families: Sequence[str] = ("lkca", "vit"),
    fractions: Sequence[float] = FRACTIONS,
    draws: int = 5,
    seeds: int = 2,
    trials: int = 3,
    fails: Callable[[str, int, int, int], bool] = lambda *key: False,
    **changes: Any,
) -> SearchResults:
    """Return a search whose second trial is the best of each cell; without `accuracy` it is not confirmed."""
    spec = make_spec(families, fractions, **changes)
    made = [_of_search(spec, _trial(cell, number)) for cell in cells(spec) for number in range(trials)]
    sealed = _seal(spec, made, draws, seeds)
    replicates = [_of_search(spec, made) for made in _replicates(sealed, accuracy, fails)] if accuracy else []
    return SearchResults(
        name="made", spec=spec, trials=made, replicates=replicates, rounds=[sealed] if accuracy else []
    )


def _of_search(spec: SearchSpec, record: Record) -> Record:
    """Return the record with the sections of a search's spec."""
    values = {name: getattr(record.spec, name) for name in TrialSpec.model_fields}
    trial = TrialSpec.model_validate({**values, "data": spec.data, "training": spec.training})
    return record.model_copy(update={"spec": trial})


def images_of(cell: Cell | Configuration) -> int:
    levels = cell.levels if isinstance(cell, Cell) else cell.model_dump()
    return round(NUM_IMAGES * float(levels["data_fraction"]))


def _trial(cell: Cell, number: int) -> Record:
    configuration = Configuration.model_validate({**cell.levels, "patch_size": 2, "learning_rate": 1e-3 * (number + 1)})
    accuracy = (0.4, 0.6, 0.5, 0.3)[number % 4]
    return Record(
        trial_id=f"{cell.key}/{number}",
        search="made",
        cell=cell.key,
        number=number,
        attempt=1,
        driver=1,
        state=State.COMPLETE,
        metric="val_accuracy",
        value=accuracy,
        spec=_spec(configuration, seed=number),
        facts=FACTS.model_copy(update={"num_train_images": images_of(cell), "num_validation_images": 300}),
        curve=(make_result(10, accuracy / 2), make_result(20, accuracy)),
        error=None,
        started=1000.0,
        finished=1010.0,
    )


def _seal(spec: SearchSpec, trials: Sequence[Record], draws: int, seeds: int) -> Round:
    repeats = repeats_of(spec.factors, spec.exclude)
    first = len(repeats) or 1
    picks = [
        Pick(
            cell=record.cell,
            rank=1,
            trial_id=record.trial_id,
            value=record.value,
            configuration=record.spec.configuration,
            num_trials=sum(other.cell == record.cell for other in trials),
            num_tied=1,
        )
        for record in trials
        if record.number == 1 and record.value is not None
    ]
    return Round(
        number=1,
        opened=1_700_000_000.0,
        metric=spec.search.metrics[0],
        goal=spec.search.directions[0],
        repeats=tuple(int(draw) for draw in repeats),
        draws=tuple(range(first, first + draws)),
        num_seeds=seeds,
        top=1,
        test_hash="t" * 64,
        num_trials=len(trials),
        num_trials_left=0,
        picks=tuple(picks),
        cells_without=tuple(cell.key for cell in cells(spec) if cell.key not in {pick.cell for pick in picks}),
    ).sealed()


def _replicates(sealed: Round, accuracy: Accuracy, fails: Callable[[str, int, int, int], bool]) -> Iterator[Record]:
    for pick, replication in sealed.replications():
        images = images_of(pick.configuration)
        key = pick.configuration.family, images, replication.draw, replication.seed
        found, failed = accuracy(*key), fails(*key)
        if found is not None or failed:
            yield _replicate(pick, replication, images, None if failed else found)


def _replicate(pick: Pick, replication: Replication, images: int, accuracy: float | None) -> Record:
    score = None if accuracy is None else TestResult(num_images=1000, data_hash="t" * 64, loss=1.0, accuracy=accuracy)
    configuration = pick.configuration.model_copy(update={"draw": replication.draw})
    return Record(
        trial_id=replication.replicate_id,
        search="made",
        cell=pick.cell,
        number=1,
        attempt=1,
        driver=1,
        state=State.FAIL if accuracy is None else State.COMPLETE,
        metric="test_accuracy",
        value=accuracy,
        spec=_spec(configuration, seed=100 * replication.draw + replication.seed),
        facts=FACTS.model_copy(
            update={
                "num_train_images": images,
                "num_validation_images": 300,
                "subset_hash": _subset(images, configuration),
            }
        ),
        curve=() if accuracy is None else (make_result(10, accuracy / 2), make_result(20, accuracy)),
        error="RuntimeError: broken" if accuracy is None else None,
        started=1000.0,
        finished=1010.0,
        replicate=replication,
        test=score,
    )


def _subset(images: int, configuration: Configuration) -> str:
    """Return a hash that depends on the draw, unless the subset is all images."""
    return f"{images}" if images == NUM_IMAGES else f"{images}/{configuration.draw}"


def _spec(configuration: Configuration, *, seed: int) -> TrialSpec:
    return TrialSpec(
        data=DataSection(dataset="digits"),
        training=TrainingSection(steps=20, reports=2),
        resources=TrialResources(),
        configuration=configuration,
        seed=seed,
        split_seed=7,
    )


def with_predictions(results: SearchResults, *, num_images: int = 1000) -> SearchResults:
    """Return results with predictions per test image that have the test accuracies; difficult images are shared."""
    correct = {}
    for record in results.replicates:
        if record.test is not None:
            order = np.random.default_rng(0).standard_normal(num_images)
            order += 0.5 * np.random.default_rng([record.spec.seed, len(record.trial_id)]).standard_normal(num_images)
            correct[record.trial_id] = np.argsort(np.argsort(order)) < round(record.test.accuracy * num_images)
    return replace(results, correct=correct)
