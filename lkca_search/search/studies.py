"""The bridge to Optuna: one durable study a cell, asked, reported to and told. Nothing else imports Optuna."""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from lkca_search.configuration import Scalar
from lkca_search.records import State
from lkca_search.search.cells import Cell, exists
from lkca_search.seeds import derive_seed
from lkca_search.space import Choice, Domain, Fixed, FloatRange, IntRange
from lkca_search.spec import SearchSpec, parameter_order

Storage = optuna.storages.BaseStorage
Suggestion = tuple[tuple[str, Scalar], ...]
"""Sampled names and values, by name."""
_SQLITE_TIMEOUT_SECONDS = 60
_REPEATS = "repeats"


def open_storage(ledger: Path, *, read_only: bool = False) -> optuna.storages.RDBStorage:
    """Open a ledger's SQLite database, made if it is not there; read-only disturbs no driver."""
    optuna.logging.set_verbosity(logging.WARNING)
    url = f"sqlite:///file:{ledger}?mode=ro&uri=true" if read_only else f"sqlite:///{ledger}"
    return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _SQLITE_TIMEOUT_SECONDS}})


class Study:
    """One cell's Optuna study. A sampler is seeded by (seed, cell, trial number): a suggestion depends on no timing."""

    def __init__(self, storage: Storage, spec: SearchSpec, cell: Cell) -> None:
        self._spec = spec
        self._cell = cell
        self._study = optuna.create_study(
            storage=storage,
            study_name=cell.key,
            directions=list(spec.search.goals),
            load_if_exists=True,
            sampler=RandomSampler(),
            pruner=_PRUNERS[spec.search.pruner](spec.training.num_reports),
        )
        self._live: dict[int, Trial] = {}

    def trials(self) -> list[FrozenTrial]:
        """Every trial of the cell, those that repeat an earlier one included, in order of number."""
        return self._study.get_trials(deepcopy=False)

    def is_repeat(self, frozen: FrozenTrial) -> bool:
        """Whether a trial was found to repeat an earlier one, and so was never trained."""
        return _REPEATS in frozen.user_attrs

    def ask(self) -> tuple[int, dict[str, Scalar]]:
        """Start a trial; return its number and the values of the names that the cell leaves open."""
        number = len(self.trials())
        self._study.sampler = self._sampler(number)
        trial = self._study.ask()
        return trial.number, self._suggest(trial)

    def adopt(self, frozen: FrozenTrial) -> dict[str, Scalar]:
        """Take over a running trial of a dead driver: its values as suggested, and what was not yet suggested anew."""
        self._study.sampler = self._sampler(frozen.number)
        return self._suggest(Trial(self._study, frozen._trial_id))

    def suggestion(self, number: int) -> Suggestion:
        """What the sampler chose for a trial; equal for two trials of one configuration."""
        trial = self._live.get(number) or self.trials()[number]
        return tuple(sorted(trial.params.items()))

    def repeat(self, number: int, of: int) -> None:
        """End a trial that repeats an earlier one: it takes that one's outcome, if there is one yet, and is marked."""
        earlier = self.trials()[of]
        self._live[number].set_user_attr(_REPEATS, of)
        state = State[earlier.state.name] if earlier.state.is_finished() else State.FAIL
        self.tell(number, state, earlier.values or ())

    def report(self, number: int, index: int, value: float) -> bool:
        """Report a trial's value at its report `index`; return whether the pruner stops it. A step counts once."""
        trial = self._live[number]
        if index in trial.storage.get_trial(trial._trial_id).intermediate_values:
            return False
        if len(self._spec.search.metrics) > 1:
            return False  # Optuna neither reports nor prunes where there are several goals
        trial.report(value, index)
        return trial.should_prune()

    def tell(self, number: int, state: State, values: Sequence[float]) -> None:
        """End a trial; the values, one a metric, count only if it is complete."""
        self._study.tell(number, list(values) if state is State.COMPLETE else None, state=TrialState[state])
        self._live.pop(number, None)

    def _suggest(self, trial: Trial) -> dict[str, Scalar]:
        self._live[trial.number] = trial
        chosen = dict(self._cell.levels)
        for name in parameter_order(self._spec.parameters):
            domain = self._spec.parameters[name]
            if exists(domain, chosen):
                chosen[name] = _suggest(trial, name, domain)
        return chosen

    def _sampler(self, number: int) -> BaseSampler:
        search = self._spec.search
        seed = derive_seed(search.seed, "sampler", self._cell.key)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # TPE's `group`, which conditions need, and QMC
            return _SAMPLERS[search.sampler](seed, number)


def _suggest(trial: Trial, name: str, domain: Domain) -> Scalar:
    match domain:
        case Fixed():
            return domain.value
        case Choice():
            chosen = trial.suggest_categorical(name, list(domain.choice))
            assert chosen is not None
            return chosen
        case IntRange():
            return trial.suggest_int(name, *domain.bounds, step=domain.step, log=domain.log)
        case FloatRange():
            return trial.suggest_float(name, *domain.bounds, log=domain.log)


def _tpe(seed: int, number: int) -> BaseSampler:
    return TPESampler(
        seed=derive_seed(seed, number), n_startup_trials=10, multivariate=True, group=True, constant_liar=True
    )


def _random(seed: int, number: int) -> BaseSampler:
    return RandomSampler(seed=derive_seed(seed, number))


def _qmc(seed: int, number: int) -> BaseSampler:
    # One sequence a cell: the sampler counts the position itself, in the study.
    return QMCSampler(
        qmc_type="sobol",
        scramble=True,
        seed=seed,
        independent_sampler=_random(seed, number),
        warn_independent_sampling=False,
    )


_SAMPLERS: Mapping[str, Callable[[int, int], BaseSampler]] = {"tpe": _tpe, "random": _random, "qmc": _qmc}

_PRUNERS: Mapping[str, Callable[[int], BasePruner]] = {
    "none": lambda _reports: NopPruner(),
    "median": lambda _reports: MedianPruner(n_startup_trials=5, n_warmup_steps=0, interval_steps=1, n_min_trials=1),
    "hyperband": lambda reports: HyperbandPruner(min_resource=1, max_resource=reports, reduction_factor=3),
    "successive_halving": lambda _reports: SuccessiveHalvingPruner(min_resource=1, reduction_factor=4),
}
