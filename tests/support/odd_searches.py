"""Hypothesis strategy of odd but possible searches: equal sizes, missing cells, failures, constant scores, rounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.record import Record, State, TestResult
from lkca_search.records.rounds import Pick, Round
from lkca_search.records.trial import Replication, TrialSpec
from lkca_search.spec.cells import Cell, cells
from lkca_search.spec.configuration import Configuration, Scalar
from lkca_search.spec.domains import FloatRange
from lkca_search.spec.factors import repeats_of
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.search_spec import SearchSpec
from tests.support.records import FACTS, make_result

POOL = 1000
"""Images from which a fraction is drawn; 0.01 and 0.012 of them are rounded to 10 images."""
NUM_TEST = 50
_FRACTIONS = (0.01, 0.012, 0.05, 0.1, 0.25, 0.5, 1.0)
_SCORES = ("zero", "one", "half", "zero or one", "of the family", "law", "uniform")


@dataclass(frozen=True, kw_only=True)
class Oddity:
    """Shares of missing and failed results, and the kind of scores."""

    scores: str
    num_trials: int
    """Largest number of finished trials per cell."""
    missing: float
    """Share of trials and replicates that are missing."""
    failed: float
    """Share of finished trials and replicates that failed."""


@st.composite
def odd_searches(draw: st.DrawFn) -> SearchResults:
    """Return a search whose spec is valid and whose records could have been written."""
    spec = SearchSpec.model_validate(draw(_spaces()))
    shares = st.sampled_from((0.0, 0.0, 0.3, 0.7, 1.0))
    oddity = Oddity(
        scores=draw(st.sampled_from(_SCORES)),
        num_trials=draw(st.sampled_from((1, 2, 12))),
        missing=draw(shares),
        failed=draw(shares),
    )
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    trials = [record for cell in cells(spec) for record in _trials(spec, cell, oddity, generator)]
    rounds, replicates = [], []
    for number in range(1, draw(st.integers(0, 2)) + 1):
        sealed = _seal(spec, trials, number, draws=draw(st.integers(1, 4)), seeds=draw(st.integers(1, 2)))
        if sealed.picks:
            rounds.append(sealed)
    for sealed in rounds:
        known = {record.trial_id for record in replicates}
        replicates += [record for record in _replicates(sealed, oddity, generator) if record.trial_id not in known]
    num_predicted = draw(st.sampled_from((0, len(replicates) // 2, len(replicates))))
    return SearchResults(
        name="odd",
        spec=spec,
        trials=trials,
        replicates=replicates,
        rounds=rounds,
        correct={
            record.trial_id: generator.permutation(NUM_TEST) < NUM_TEST * record.test.accuracy
            for record in replicates[:num_predicted]
            if record.test
        },
    )


@st.composite
def _spaces(draw: st.DrawFn) -> dict[str, Any]:
    families = draw(st.lists(st.sampled_from(("lkca", "vit", "resnet")), min_size=1, max_size=3, unique=True))
    fractions = st.lists(st.sampled_from(_FRACTIONS), min_size=1, max_size=len(_FRACTIONS), unique=True)
    factors: dict[str, Any] = {"family": tuple(families)}
    parameters: dict[str, Any] = {
        "learning_rate": {"float": (1e-4, 1e-2), "log": True},
        "depth": {"int": (1, 12)},
        "pooling": {"choice": ("mean", "class_token"), "when": {"family": ("vit",)}} if "vit" in families else None,
    }
    size = draw(st.sampled_from(("fraction", "fraction", "per class", "searched", "searched range", "all")))
    if size == "fraction":
        factors["data_fraction"] = tuple(draw(fractions))
    elif size == "per class":
        factors["images_per_class"] = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3, unique=True)))
    elif size == "searched":
        parameters["data_fraction"] = {"choice": tuple(draw(fractions))}
    elif size == "searched range":
        parameters["data_fraction"] = {"float": (0.01, 1.0)}
    if families[0] == "lkca" and draw(st.booleans()):  # in a one-at-a-time design, the base must have the factor
        factors["kernel_size"] = {"levels": (3, 5), "when": {"family": ("lkca",)}}
    repeats = draw(st.sampled_from((1, 1, 2, 3)))
    return {
        "data": {"dataset": "digits", "scale_validation": draw(st.booleans())},
        "factors": factors,
        "design": draw(st.sampled_from(("crossed", "one_at_a_time"))),
        "parameters": {name: domain for name, domain in parameters.items() if domain},
        "training": {"steps": 20, "reports": 2},
        "search": {
            "trials_per_cell": draw(st.integers(1, 12)),
            "repeats": repeats,
            "sampler": {"name": draw(st.sampled_from(("tpe", "random")))},
            "metric": draw(st.sampled_from(("val_accuracy", "val_loss", ("val_accuracy", "num_parameters")))),
        },
    }


def num_images(configuration: Configuration) -> int:
    """Return the number of training images of a configuration in a made-up dataset with 10 classes."""
    if configuration.images_per_class is not None:
        return 10 * configuration.images_per_class
    assert configuration.data_fraction is not None
    return int(POOL * configuration.data_fraction // 10 * 10)


def _trials(spec: SearchSpec, cell: Cell, oddity: Oddity, generator: np.random.Generator) -> list[Record]:
    finished = [number for number in range(oddity.num_trials) if generator.random() >= oddity.missing]
    return [_trial(spec, cell, number, oddity, generator) for number in finished]


def _trial(spec: SearchSpec, cell: Cell, number: int, oddity: Oddity, generator: np.random.Generator) -> Record:
    state = State.FAIL if generator.random() < oddity.failed else State.COMPLETE
    if state is State.COMPLETE and generator.random() < oddity.failed / 2:
        state = State.PRUNED
    configuration = Configuration.model_validate({**cell.levels, **_suggest(spec, cell, generator)})
    values: dict[str, Any] = {"trial_id": f"{cell.key}/{number}", "cell": cell.key, "number": number, "state": state}
    return _record(spec, configuration, values, oddity, generator)


def _suggest(spec: SearchSpec, cell: Cell, generator: np.random.Generator) -> dict[str, Scalar]:
    def value(_name: str, domain: Any) -> tuple[Scalar, ...]:
        if isinstance(domain, FloatRange):
            return (float(generator.uniform(*domain.bounds)),)
        values = domain.values()
        return (values[int(generator.integers(len(values)))],)

    point = next(iter(spec.space.branch(value, cell.levels)))
    return {name: level for name, level in point.items() if name not in cell.levels}


def _seal(spec: SearchSpec, trials: Sequence[Record], number: int, *, draws: int, seeds: int) -> Round:
    repeats = tuple(int(draw) for draw in repeats_of(spec.factors, spec.exclude))
    keys = [cell.key for cell in cells(spec)]
    picks = [pick for key in keys for pick in _picks(key, trials)]
    first = (len(repeats) or 1) + 10 * (number - 1)
    return Round(
        number=number,
        opened=1_700_000_000.0 + number,
        metric=spec.search.metrics[0],
        goal=spec.search.directions[0],
        repeats=repeats,
        draws=tuple(range(first, first + (len(repeats) or draws))),
        num_seeds=seeds,
        top=1,
        test_hash="t" * 64,
        num_trials=len(trials),
        num_trials_left=0,
        picks=tuple(picks),
        cells_without=tuple(key for key in keys if key not in {pick.cell for pick in picks}),
    ).sealed()


def _picks(key: str, trials: Sequence[Record]) -> list[Pick]:
    complete = [record for record in trials if record.cell == key and record.value is not None]
    return [
        Pick(
            cell=key,
            rank=rank,
            trial_id=record.trial_id,
            value=record.value or 0.0,
            configuration=record.spec.configuration,
            num_trials=len(complete),
            num_tied=1,
        )
        for rank, record in enumerate(complete[:1], start=1)
    ]


def _replicates(sealed: Round, oddity: Oddity, generator: np.random.Generator) -> list[Record]:
    return [
        _replicate(pick, replication, oddity, generator)
        for pick, replication in sealed.replications()
        if generator.random() >= oddity.missing
    ]


def _replicate(pick: Pick, replication: Replication, oddity: Oddity, generator: np.random.Generator) -> Record:
    state = State.FAIL if generator.random() < oddity.failed else State.COMPLETE
    values = {
        "trial_id": replication.replicate_id,
        "cell": pick.cell,
        "number": int(pick.trial_id.rpartition("/")[2]),
        "state": state,
        "metric": "test_accuracy",
        "replicate": replication,
    }
    configuration = pick.configuration.model_copy(update={"draw": replication.draw})
    record = _record(None, configuration, values, oddity, generator)
    if state is State.FAIL:
        return record
    test = TestResult(num_images=1000, data_hash="t" * 64, loss=2.25, accuracy=_score(configuration, oddity, generator))
    return record.model_copy(update={"test": test, "value": test.accuracy})


def _record(
    spec: SearchSpec | None,
    configuration: Configuration,
    values: dict[str, Any],
    oddity: Oddity,
    generator: np.random.Generator,
) -> Record:
    failed, score = values["state"] is State.FAIL, _score(configuration, oddity, generator)
    metric = spec.search.metrics[0] if spec else "test_accuracy"
    curve = (make_result(10, score / 2), make_result(20, score))
    curve = curve[: int(generator.integers(2)) if failed else 1 if values["state"] is State.PRUNED else 2]
    facts = FACTS.model_copy(
        update={
            "num_train_images": num_images(configuration),
            "num_validation_images": int(generator.choice([10, 300])),
            "num_parameters": int(generator.choice([1234, 12_345])),
        }
    )
    return Record.model_validate(
        {
            "search": "odd",
            "attempt": 1,
            "driver": 1,
            "metric": metric,
            "value": None if values["state"] is not State.COMPLETE else score if "acc" in metric else 2.25,
            "spec": TrialSpec.model_validate(
                {
                    "data": {"dataset": "digits"},
                    "training": {"steps": 20, "reports": 2},
                    "resources": TrialResources(),
                    "configuration": configuration,
                    "seed": 1,
                    "split_seed": 7,
                }
            ),
            "facts": None if failed and not curve else facts,
            "curve": curve,
            "error": "RuntimeError: broken" if failed else None,
            "started": 1000.0,
            "finished": 1010.0,
            **values,
        }
    )


def _score(configuration: Configuration, oddity: Oddity, generator: np.random.Generator) -> float:
    match oddity.scores:
        case "zero":
            return 0.0
        case "one":
            return 1.0
        case "half":
            return 0.5
        case "zero or one":
            return float(generator.integers(2))
        case "of the family":
            return 0.9 if configuration.family == "lkca" else 0.1
        case "law":
            error = 0.1 + float(num_images(configuration)) ** -0.3 + generator.normal(0, 0.01)
            return float(1 - np.clip(error, 0, 1))
        case _:
            return float(generator.random())
