"""The bridge to Optuna: one durable study a cell, asked, reported to and told.

Nothing else imports Optuna, but for `samplers.py`, which loads classes by their dotted paths.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence

import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from lkca_search.errors import Problem
from lkca_search.records.record import State
from lkca_search.search.state.database import Database
from lkca_search.search.studies.grid_sampler import GridSampler
from lkca_search.search.studies.samplers import describe, make_pruner, make_sampler
from lkca_search.seeds import derive_seed
from lkca_search.spec.cells import Cell, cells, grid_points
from lkca_search.spec.configuration import Scalar
from lkca_search.spec.domains import Choice, Domain, Fixed, FloatRange, IntRange
from lkca_search.spec.search_spec import SearchSpec

STORAGE_FAULTS = (OSError, SQLAlchemyError, optuna.exceptions.StorageInternalError)
"""What is raised where a disk is full or a database away."""
Storage = optuna.storages.BaseStorage
Params = tuple[tuple[str, Scalar], ...]
"""Sampled names and values, by name."""
_REPEATS = "repeats"


def open_storage(database: Database) -> optuna.storages.RDBStorage:
    """Open a ledger's database, with Optuna's tables made if they are not there."""
    optuna.logging.set_verbosity(logging.WARNING)
    arguments = {"connect_args": database.connect_args, "pool_pre_ping": True}
    return optuna.storages.RDBStorage(database.url, engine_kwargs=arguments)


def open_in_memory_storage() -> Storage:
    """Make a storage that ends with the process: for a search that is tried out, not kept."""
    optuna.logging.set_verbosity(logging.WARNING)
    return optuna.storages.InMemoryStorage()


class Study:
    """One cell's Optuna study. A sampler is seeded by (seed, cell, trial number): a suggestion depends on no timing."""

    def __init__(self, storage: Storage, spec: SearchSpec, cell: Cell) -> None:
        self._spec = spec
        self._cell = cell
        self._study = optuna.create_study(
            storage=storage,
            study_name=cell.key,
            directions=list(spec.search.directions),
            load_if_exists=True,
            sampler=RandomSampler(),
            pruner=make_pruner(spec.search.pruner, num_reports=spec.training.num_reports),
        )
        self._points = grid_points(spec, cell) if spec.search.sampler.name == "grid" else None
        self._live: dict[int, Trial] = {}
        self._reported: dict[int, set[int]] = {}
        self._num_trials = len(self.trials())
        self._note_what_is_used()

    @property
    def is_exhausted(self) -> bool:
        """Whether a grid was tried in full: what is asked from now on repeats what was suggested before."""
        return self._points is not None and self._num_trials >= len(self._points)

    def trials(self) -> list[FrozenTrial]:
        """Every trial of the cell, those that repeat an earlier one included, in order of number."""
        return self._study.get_trials(deepcopy=False)

    def is_duplicate(self, frozen: FrozenTrial) -> bool:
        """Whether a trial was found to repeat an earlier one, and so was never trained."""
        return _REPEATS in frozen.user_attrs

    def enqueue_trial(self, suggestion: Mapping[str, Scalar]) -> None:
        """Have one of the next trials take these values, after those enqueued before."""
        self._study.enqueue_trial(dict(suggestion))

    def ask(self) -> tuple[int, dict[str, Scalar]]:
        """Start a trial; return its number and the values of the names that the cell leaves open."""
        self._study.sampler = self._sampler(self._num_trials)
        trial = self._study.ask()
        self._num_trials = max(self._num_trials, trial.number + 1)
        self._reported[trial.number] = set()
        return trial.number, self._suggest(trial)

    def resume(self, frozen: FrozenTrial) -> dict[str, Scalar]:
        """Take over a running trial of a dead driver: its values as suggested, and what was not yet suggested anew."""
        self._study.sampler = self._sampler(frozen.number)
        self._reported[frozen.number] = set(frozen.intermediate_values)
        return self._suggest(Trial(self._study, frozen._trial_id))

    def params(self, number: int) -> Params:
        """What the sampler chose for a trial; equal for two trials of one configuration."""
        trial = self._live.get(number) or self.trials()[number]
        return tuple(sorted(trial.params.items()))

    def tell_duplicate(self, number: int, of: int) -> None:
        """End a trial that repeats an earlier one: it takes that one's outcome, if there is one yet, and is marked."""
        earlier = self.trials()[of]
        self._live[number].set_user_attr(_REPEATS, of)
        state = State[earlier.state.name] if earlier.state.is_finished() else State.FAIL
        self.tell(number, state, earlier.values or ())

    def report(self, number: int, index: int, value: float) -> bool:
        """Report a trial's value at its report `index`; return whether the pruner stops it. A step counts once."""
        # Optuna neither reports nor prunes where there are several goals.
        if index in self._reported[number] or len(self._spec.search.metrics) > 1:
            return False
        trial = self._live[number]
        trial.report(value, index)
        self._reported[number].add(index)
        return trial.should_prune()

    def tell(self, number: int, state: State, values: Sequence[float]) -> None:
        """End a trial; the values, one a metric, count only if it is complete."""
        self._study.tell(number, list(values) if state is State.COMPLETE else None, state=TrialState[state])
        self._live.pop(number, None)
        self._reported.pop(number, None)

    def _suggest(self, trial: Trial) -> dict[str, Scalar]:
        self._live[trial.number] = trial
        _ = trial.relative_params  # what is sampled together, drawn at the first look

        def choose(name: str, domain: Domain) -> Scalar:
            # From the name's own seed: the same where the names before it were stored, and drew nothing.
            self._study.sampler = self._sampler(trial.number, name)
            return _suggest(trial, name, domain)

        return self._spec.space.walk(choose, self._cell.levels)

    def _sampler(self, number: int, name: str | None = None) -> BaseSampler:
        search = self._spec.search
        seed = derive_seed(search.seed, "sampler", self._cell.key)
        if self._points is not None:
            return GridSampler(points=self._points, seed=seed)
        sampler: BaseSampler = make_sampler(search.sampler, seed=seed, number=number, name=name)
        return sampler

    def _note_what_is_used(self) -> None:
        """Write sampler, pruner and Optuna's version into the study; of versions all that drove it."""
        search, num_reports, noted = self._spec.search, self._spec.training.num_reports, self._study.user_attrs
        versions = [version for version in noted.get("optuna_version", "").split(", ") if version]
        used = {
            "sampler": describe("sampler", search.sampler, num_reports=num_reports),
            "pruner": describe("pruner", search.pruner, num_reports=num_reports),
            "optuna_version": ", ".join(dict.fromkeys([*versions, optuna.__version__])),
        }
        for name, value in used.items():
            if noted.get(name) != value:
                self._study.set_user_attr(name, value)


def find_suggestion_problems(spec: SearchSpec) -> Iterator[Problem]:
    """Why a sampler that can be made cannot suggest: other people's refuse some domains when they first see them."""
    try:
        Study(open_in_memory_storage(), spec, cells(spec)[0]).ask()
    except Exception as error:
        name = spec.search.sampler.name
        yield Problem(("search", "sampler"), f"sampler {name} cannot suggest: {type(error).__name__}: {error}")


def _suggest(trial: Trial, name: str, domain: Domain) -> Scalar:
    match domain:
        case Fixed():
            return domain.value
        case Choice():
            chosen = trial.suggest_categorical(name, list(domain.choice))
            assert chosen is not None
            return chosen
        case IntRange():
            values = domain.values()  # their last, where the step does not lead to the upper bound
            return trial.suggest_int(name, values[0], values[-1], step=domain.step, log=domain.log)
        case FloatRange():
            return trial.suggest_float(name, *domain.bounds, log=domain.log)
