"""Methods of a report, as for the appendix of a paper; computed from the spec, the records and the round."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.objectives import TIE_BREAKS
from lkca_search.records.record import Record, State
from lkca_search.records.rounds import Round
from lkca_search.reporting.methods.statistics import statistics_paragraph
from lkca_search.reporting.methods.training import images_methods, models_methods, training_methods
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import format_count, join_words, pluralize
from lkca_search.reporting.values.report import Paragraph
from lkca_search.spec.components import CURVES_MIN_PROBABILITY, CURVES_STARTUP_TRIALS
from lkca_search.spec.configuration import SIZE_NAMES, SUBSET_NAMES
from lkca_search.spec.domains import Choice, Domain, Fixed, FloatRange, IntRange
from lkca_search.spec.factors import DRAW


def methods(results: SearchResults, scores: RoundScores | None) -> list[Paragraph]:
    """Return the paragraphs of the methods."""
    return [
        ("Data", _data(results)),
        ("Design", _design(results)),
        ("Hyperparameters", _hyperparameters(results)),
        ("Models", models_methods(results)),
        ("Training", training_methods(results)),
        ("Search", _search(results)),
        *([("Confirmation", _confirmation(scores, MetricFormat(results.metric)))] if scores else []),
        ("Statistics", statistics_paragraph(scores, results.metric)),
        ("Provenance", _provenance(results)),
    ]


def _data(results: SearchResults) -> str:
    data = results.spec.data
    metadata = next((record.facts for record in (*results.trials, *results.replicates) if record.facts), None)
    resized = f", resized to {data.image_size} x {data.image_size} pixels" if data.image_size else ""
    validation = (
        "The validation images shrink in proportion to the training subset."
        if data.scale_validation
        else "The validation images are the same at every size."
    )
    sizes = sorted({record.facts.num_train_images for record in results.trials if record.facts})
    subsets = f"Subsets of {join_words([format_count(size) for size in sizes])} images" if sizes else "Subsets"
    content_hash = f" The content hash of the training split is {metadata.data_hash[:16]}…." if metadata else ""
    return (
        f"Dataset {data.dataset}{resized}. {100 * data.validation:g}% of the training split, stratified by class, is "
        f"held out for validation and never trained on. {validation} {subsets} are stratified by class, nested within "
        f"a draw, and the same for all variants. {images_methods(results)}{content_hash}{_missing_images(results)}"
    )


def _missing_images(results: SearchResults) -> str:
    """Return the sentence on an incomplete official dataset; empty if it is complete or not an official one."""
    return f" The dataset had only {join_words(results.shortages)}." if results.shortages else ""


def _design(results: SearchResults) -> str:
    spec = results.spec
    factors = "; ".join(
        f"{name} ({join_words([str(level) for level in factor.levels])})"
        for name, factor in spec.factors.items()
        if name != DRAW or not results.repeats
    )
    design = "Crossed factors" if spec.design == "crossed" else "Factors changed one at a time from the base"
    num_cells = len({cell.key for cell in results.compared_cells.values()})
    excluded = f" after {pluralize(len(spec.exclude), 'rule')} of exclusion" if spec.exclude else ""
    searched = [name for name in SIZE_NAMES if name in spec.parameters]
    note = (
        f" {searched[0]} is searched, not crossed, so results per size depend on the sizes that the sampler chose."
        if searched
        else ""
    )
    return f"{design}: {factors}. This gives {pluralize(num_cells, 'cell')}{excluded}.{note}"


def _hyperparameters(results: SearchResults) -> str:
    domains = [f"{name} {_domain(domain)}" for name, domain in results.spec.parameters.items()]
    return f"In every cell: {'; '.join(domains)}." if domains else "No hyperparameter is searched."


def _domain(domain: Domain) -> str:
    match domain:
        case Fixed():
            text = f"= {domain.value}"
        case Choice():
            text = f"from {join_words([str(value) for value in domain.choice])}"
        case IntRange() | FloatRange():
            scale = ", logarithmic" if domain.log else ""
            text = f"in [{domain.bounds[0]:g}, {domain.bounds[1]:g}]{scale}"
    conditions = [f"{name} is {' or '.join(map(str, values))}" for name, values in domain.when.items()]
    return f"{text} if {join_words(conditions)}" if conditions else text


def _search(results: SearchResults) -> str:
    search, draws = results.spec.search, results.repeats
    states = Counter(record.state for record in results.trials)
    metrics = join_words([f"{metric.label} ({metric.direction})" for metric in search.definitions])
    pruner = "no pruner" if search.pruner.name == "none" else f"pruner {search.pruner}, which compares within a cell"
    repeats = (
        f"Every cell is searched {len(draws)} times, on subset draws {join_words([str(draw) for draw in draws])}. Each "
        "search has its own sampler and training seeds."
        if draws
        else "The result is conditional on this one search per cell."
    )
    finished = (
        f"{pluralize(len(results.trials), 'trial')} finished: {format_count(states[State.COMPLETE])} complete, "
        f"{states[State.PRUNED]} pruned, {states[State.FAIL]} failed"
    )
    return (
        f"Each cell is an Optuna study with the same budget of {pluralize(search.trials_per_cell, 'trial')}. The "
        f"sampler is {search.sampler}, with {pruner}.{_pruner(results)}{_starts(results)} "
        f"Trials are compared by {metrics}. Ties are ordered by {TIE_BREAKS}. The seed is {search.seed}. {finished}. "
        f"{repeats}"
    )


def _pruner(results: SearchResults) -> str:
    """Return the sentences on the effect of a pruner; empty without one."""
    pruner, domains = results.spec.search.pruner, results.spec.parameters
    if pruner.name == "none":
        return ""
    searched = [name for name in SUBSET_NAMES if not isinstance(domains.get(name), Fixed | None)]
    rule = f" It compares trials that differ in {join_words(searched)}, which is searched." if searched else ""
    if pruner.name == "curves":
        startup = pluralize(pruner.arguments.get("n_startup_trials", CURVES_STARTUP_TRIALS), "complete trial")
        probability = pruner.arguments.get("min_probability", CURVES_MIN_PROBABILITY)
        rule += (
            f" After {startup} of a cell, it stops a trial that is in the worse half of its cell at its report, and "
            f"whose probability of ending better than the best trial of the cell is below {probability:g}, by Bayesian "
            "linear regression on the complete curves of the cell (Domhan et al. 2015, Baker et al. 2017)."
        )
    return f"{rule} A pruned trial is not the best one of its cell, and no replicate is pruned."


def _starts(results: SearchResults) -> str:
    """Return the sentence on the known starts of the space file; empty if it has none."""
    starts = [
        ", ".join(f"{name} = {value:g}" if isinstance(value, float) else f"{name} = {value}" for name, value in pairs)
        for pairs in (start.items() for start in results.spec.search.start)
    ]
    if not starts:
        return ""
    return (
        f" The first trials of a cell have given values, as part of its budget: {'; '.join(starts)}. A start holds in "
        "the cells where all its names exist, and the sampler chooses the other values."
    )


def _confirmation(scores: RoundScores, metric: MetricFormat) -> str:
    sealed = scores.round
    opened = datetime.fromtimestamp(sealed.opened, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
    best = "best configuration" if sealed.top == 1 else f"best {sealed.top} configurations"
    draws, seeds = len(sealed.draws), pluralize(sealed.num_seeds, "seed")
    retrained = (
        f"The best configuration of each repeat was retrained on one of {pluralize(draws, 'subset draw')} that no "
        f"trial had used, with {seeds}."
        if sealed.repeats
        else f"Each was retrained on {pluralize(draws, 'subset draw')} that no trial had used, with {seeds} per draw."
    )
    variation = (
        " The draws therefore include the variation between searches that share the validation images; at a data "
        "fraction of 1.0, they also share the training images."
        if sealed.repeats
        else ""
    )
    ties = _ties(sealed)
    return (
        f"Round {sealed.number} was sealed on {opened} (seal {sealed.seal[:16]}…). It froze the {best} of each cell, "
        f"chosen from {pluralize(sealed.num_trials, 'trial')}.{ties} {retrained} Each replicate has the number of "
        "training images of its cell and was evaluated once on the test split (content hash "
        f"{sealed.test_hash[:16]}…). Tables and figures of {metric.test_label} show the best configuration of each "
        f"cell.{variation}"
    )


def _ties(sealed: Round) -> str:
    """Return the sentence on cells in which several trials had the best values; empty if there is none."""
    best = [pick for pick in sealed.picks if pick.rank == 1]
    if any(pick.num_tied is None for pick in best):
        return " The version that sealed it ordered ties by the lowest number alone."
    if not (tied := [pick.num_tied for pick in best if pick.num_tied and pick.num_tied > 1]):
        return ""
    number = "two" if max(tied) == 2 else f"up to {max(tied)}"
    return f" In {len(tied)} of {pluralize(len(best), 'cell')}, {number} trials tied for first place."


def _provenance(results: SearchResults) -> str:
    records = [record for record in (*results.trials, *results.replicates) if record.facts]
    if not records:
        return "No record has the metadata of its training yet."
    versions = "; ".join(f"{name} {join_words(values)}" for name, values in _versions(records))
    return f"From {pluralize(len(records), 'record')}: {versions}."


def _versions(records: Iterable[Record]) -> Iterator[tuple[str, list[str]]]:
    provenances = [record.facts.provenance for record in records if record.facts]
    for name, field in (
        ("code", "code"),
        ("Python", "python_version"),
        ("PyTorch", "torch_version"),
        ("Ray", "ray_version"),
        ("Optuna", "optuna_version"),
        ("device", "device"),
        ("nodes", "node"),
    ):
        yield name, list(dict.fromkeys(str(getattr(provenance, field)) for provenance in provenances))
