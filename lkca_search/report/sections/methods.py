"""The methods section: what a paper's appendix asks for, from the spec, the records and the round."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import SIZE_NAMES, SearchResults
from lkca_search.records.record import Record, State
from lkca_search.report.values.numbers import format_count, join_words, pluralize
from lkca_search.report.values.report import Paragraph
from lkca_search.spec.domains import Choice, Domain, Fixed, FloatRange, IntRange
from lkca_search.spec.factors import DRAW


def methods(results: SearchResults, scores: RoundScores | None) -> list[Paragraph]:
    """Each paragraph of the section."""
    return [
        ("Data", _data(results)),
        ("Design", _design(results)),
        ("Parameters", _parameters(results)),
        ("Training", _training(results)),
        ("Search", _search(results)),
        *([("Confirmation", _confirmation(scores))] if scores else []),
        ("Statistics", _STATISTICS),
        ("Provenance", _provenance(results)),
    ]


_STATISTICS = (
    "Replicates of two variants with the same draw and seed are pairs; the draw is the unit: seeds within a draw are "
    "averaged first. Intervals of means and of paired differences are Student's t over draws, at 95%. Contrasts are "
    "tested two-sided by t and corrected by Holm over all contrasts of the round. The probability of improvement "
    "(Agarwal et al. 2021) has Wilson's interval for as many trials as the draws amount to. Laws α + η n^γ (Hoiem et "
    "al. 2021) are fitted by weighted least squares, with bootstrap intervals over draws that are widened for their "
    "number; data efficiency and crossover are read within the measured sizes and have no canonical source. At 5 "
    "draws x 2 seeds these intervals were found to cover 90% to 98% where the truth is known "
    "(benchmarks/known_truth.py)."
)


def _data(results: SearchResults) -> str:
    data = results.spec.data
    facts = next((record.facts for record in (*results.trials, *results.replicates) if record.facts), None)
    size = f", brought to {data.image_size} pixels a side" if data.image_size else ""
    held = (
        f"{100 * data.validation:g}% of the training split, class by class, is held out for validation, the same images"
    )
    scaled = " at every size, shrunk with the training subset" if data.scale_validation else " at every size"
    sizes = sorted({record.facts.num_train_images for record in results.trials if record.facts})
    augment = (
        f" Training images are augmented by {join_words(data.augment)}."
        if data.augment
        else " There is no augmentation."
    )
    hashed = f" The training split has the content hash {facts.data_hash[:16]}…." if facts else ""
    trained = (
        f" Subsets of {join_words([format_count(each) for each in sizes])} images are" if sizes else " Subsets are"
    )
    return (
        f"Dataset {data.dataset}{size}. {held}{scaled}, and never trained on.{trained} stratified by class, nested for "
        f"one draw, and equal for all variants.{augment}{hashed}"
    )


def _design(results: SearchResults) -> str:
    spec = results.spec
    factors = "; ".join(
        f"{name}: {join_words([str(level) for level in each.levels])}"
        for name, each in spec.factors.items()
        if name != DRAW or not results.repeats
    )
    kind = "crossed" if spec.design == "crossed" else "changed one at a time about the base"
    excluded = f", {pluralize(len(spec.exclude), 'exclusion')}" if spec.exclude else ""
    searched = [name for name in SIZE_NAMES if name in spec.parameters]
    note = (
        f" {searched[0]} is searched, not crossed: what is said of sizes rests on where the sampler went."
        if searched
        else ""
    )
    num_cells = len({cell.key for cell in results.compared_cells.values()})
    return f"Factors, {kind}: {factors}. {pluralize(num_cells, 'cell')}{excluded}.{note}"


def _parameters(results: SearchResults) -> str:
    """What was searched in every cell, and what was fixed."""
    told = [f"{name} {_domain(domain)}" for name, domain in results.spec.parameters.items()]
    return f"Within every cell: {'; '.join(told)}." if told else "Nothing is searched."


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
    return f"{text} where {join_words(conditions)}" if conditions else text


def _training(results: SearchResults) -> str:
    training = results.spec.training
    unit = next(name for name in ("epochs", "steps", "samples") if getattr(training, name) is not None)
    length = f"{format_count(getattr(training, unit))} {'training images seen' if unit == 'samples' else unit}"
    patience = (
        f" A training ends early after {pluralize(training.patience, 'evaluation')} without a higher validation accuracy."
        if training.patience
        else ""
    )
    equal = {
        "epochs": "Equal epochs: fewer images mean fewer steps.",
        "steps": "Equal optimiser steps at every size: fewer images are seen more often.",
        "samples": "Equal images seen at every size.",
    }[unit]
    return (
        f"Every training lasts {length}, in batches of {training.batch_size} (or the whole of a smaller subset), by "
        f"AdamW with linear warm-up and cosine decay, and is evaluated {training.num_reports} times. {equal} The "
        f"result is that of the last evaluation.{patience}"
    )


def _search(results: SearchResults) -> str:
    search = results.spec.search
    states = Counter(record.state for record in results.trials)
    ended = (
        f"{format_count(states[State.COMPLETE])} complete, {states[State.PRUNED]} pruned, {states[State.FAIL]} failed"
    )
    by = join_words([f"{metric} ({goal})" for metric, goal in zip(search.metrics, search.directions, strict=True)])
    pruned = "no pruner" if search.pruner.name == "none" else f"pruner {search.pruner}, which compares within a cell"
    draws = results.repeats
    times = f"{len(draws)} times, on subset draws {join_words([str(draw) for draw in draws])}"
    repeated = f"Every cell is searched {times}, each time with sampler and training seeds of its own."
    told = repeated if draws else "The result is conditional on this one search of each cell."
    return (
        f"Each cell is an Optuna study of {pluralize(search.trials_per_cell, 'trial')}, equal budgets, with sampler "
        f"{search.sampler} and {pruned}; trials are compared by {by} on validation images. Seed {search.seed}. "
        f"{pluralize(len(results.trials), 'trial')} finished: {ended}. {told}"
    )


def _confirmation(scores: RoundScores) -> str:
    sealed = scores.round
    opened = datetime.fromtimestamp(sealed.opened, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
    which = "best configuration" if sealed.top == 1 else f"best {sealed.top} configurations"
    draws = (
        f"The best of each repeat was retrained on one of {pluralize(len(sealed.draws), 'subset draw')}"
        if sealed.repeats
        else f"Each was retrained on {pluralize(len(sealed.draws), 'subset draw')}"
    )
    varied = " Draws thus vary by all that a search varies by." if sealed.repeats else ""
    return (
        f"Round {sealed.number}, sealed {opened} (seal {sealed.seal[:16]}…), froze the {which} of each cell from "
        f"{pluralize(sealed.num_trials, 'trial')}. {draws} that "
        f"no trial had used x {pluralize(sealed.num_seeds, 'seed')}, on the cell's own number of images, and evaluated "
        f"once on the test split (content hash {sealed.test_hash[:16]}…). Tables and figures are of the best "
        f"configuration of each cell.{varied}"
    )


def _provenance(results: SearchResults) -> str:
    records = [record for record in (*results.trials, *results.replicates) if record.facts]
    if not records:
        return "No record has the facts of its training yet."
    told = "; ".join(f"{name} {join_words(values)}" for name, values in _versions(records))
    return f"From {pluralize(len(records), 'record')}: {told}."


def _versions(records: Iterable[Record]) -> Iterator[tuple[str, list[str]]]:
    origins = [record.facts.provenance for record in records if record.facts]
    for name, field in (
        ("code", "git_commit"),
        ("Python", "python_version"),
        ("PyTorch", "torch_version"),
        ("Ray", "ray_version"),
        ("Optuna", "optuna_version"),
        ("device", "device"),
        ("nodes", "node"),
    ):
        yield name, list(dict.fromkeys(str(getattr(origin, field)) for origin in origins))
