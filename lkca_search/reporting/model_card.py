"""Model cards in Markdown: description of all confirmed models of a search, and of each of them.

MLflow's databases store 5,000 characters of a description. Rows and limits that do not fit are counted in a sentence.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from lkca_search.analysis.compute_spent import compute_spent
from lkca_search.analysis.datasets import split_by_dataset
from lkca_search.analysis.scores import CellScores, RoundScores, round_scores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.selection import mean_score
from lkca_search.records.record import Record
from lkca_search.records.rounds import Round
from lkca_search.records.search.champions import Champions
from lkca_search.records.search.mlflow_runs import MAX_DESCRIPTION_CHARACTERS
from lkca_search.reporting.sections.caveats import join_texts, write_caveats
from lkca_search.reporting.sections.looks import scope_of_intervals
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import capitalize, format_count, join_words, pluralize
from lkca_search.reporting.values.table import markdown_row

_MIN_LIMITS = 3
"""Limits that are stated before rows of the table."""
_HASH = 12
"""Characters of a hash in a text."""


def write_model_card(
    results: SearchResults,
    sealed: Round,
    champions: Champions,
    *,
    aliases: Mapping[str, str],
    champion_aliases: Sequence[str],
    model: str,
) -> str:
    """Return the card of all models of a round.

    Args:
        results: Results of the search.
        sealed: Round whose replicates the aliases name.
        champions: Replicates that stand for the cells.
        aliases: Alias by the key of a compared cell.
        champion_aliases: Alias of the champion, or of the champion of each dataset.
        model: Name of the registered model.
    """
    scores = _scores_by_dataset(results, sealed)
    metric = MetricFormat(results.metric)
    rows = [
        _row(results, each, champions, aliases, metric)
        for found in scores.values()
        for each in found.cells
        if each.cell in champions.replicates
    ]
    sampled = [each.image_scores is not None for found in scores.values() for each in found.cells]
    start = [
        f"# {results.name}",
        f"Image classifiers of the search `{results.name}`: the best configuration of each cell, retrained by round "
        f"{sealed.number} of its confirmation. Each version is one replicate, which was trained on its own draw of "
        "training images with its own seed.",
        "## Data",
        *_data(results, sealed),
        "## Protocol",
        *_protocol(results, sealed, metric, champion_aliases),
    ]
    table = [
        f"## {capitalize(metric.test_label)}",
        "Means over the replicates of a cell. The interval is over draws, or over trainings where all draws have the "
        f"same images. {scope_of_intervals('Intervals', sampled)}",
        _table_head(metric),
    ]
    use = [
        "## Use",
        f'`mlflow.pyfunc.load_model("models:/{model}@{champion_aliases[0]}").predict(images)` returns the probability '
        "of each class, (N, classes), of images (N, H, W, C) as uint8. The package `lkca_search` must be installed. "
        f"Loading executes nothing from the files. `lkca-search predict models:/{model}@{champion_aliases[0]} IMAGES` "
        "classifies image files of any size.",
    ]
    return _fit(start, table, rows, _limits(results, scores), use)


def write_version_cards(
    results: SearchResults, sealed_rounds: Sequence[Round], kept: Collection[str]
) -> dict[str, str]:
    """Return the card of each kept replicate of the rounds, by its id."""
    cells: dict[str, tuple[Round, CellScores]] = {}
    for sealed in sealed_rounds:
        for found in _scores_by_dataset(results, sealed).values():
            of_trial = {pick.trial_id: scores for scores in found.cells for pick in scores.picks}
            for _, replication in sealed.replications():
                if replication.of in of_trial:
                    cells.setdefault(replication.replicate_id, (sealed, of_trial[replication.of]))
    records = [record for record in results.replicates if record.trial_id in kept]
    return {record.trial_id: _version_card(results, record, cells) for record in records}


def _scores_by_dataset(results: SearchResults, sealed: Round) -> dict[str | None, RoundScores]:
    return {
        level: round_scores(part, next(each for each in part.rounds if each.number == sealed.number))
        for level, part in split_by_dataset(results).items()
    }


def _data(results: SearchResults, sealed: Round) -> Iterator[str]:
    """Yield a line per dataset with its hashes and numbers of images, and one on the subsets."""
    for level, part in split_by_dataset(results).items():
        facts = next((record.facts for record in (*part.replicates, *part.trials) if record.facts), None)
        tested = next((record.test for record in part.replicates if record.test), None)
        found = part.datasets.get(level)
        name = level or results.spec.data.dataset
        training = f"{format_count(found.num_images)} training images" if found else "training images"
        content = f" (SHA-256 {facts.data_hash[:_HASH]}…)" if facts else ""
        test = f", {format_count(tested.num_images)} test images" if tested else ", test images"
        yield f"* `{name}`: {training}{content}{test} (SHA-256 {sealed.hash_by_dataset[level][:_HASH]}…)."
    sizes = sorted({record.facts.num_train_images for record in results.replicates if record.facts})
    yield (
        f"* {100 * results.spec.data.validation:g}% of the training images are held out for validation and never "
        f"trained on. Models were trained on {join_words([format_count(size) for size in sizes])} images, drawn by "
        "class; subsets of a draw are nested."
    )


def _protocol(
    results: SearchResults, sealed: Round, metric: MetricFormat, champion_aliases: Sequence[str]
) -> Iterator[str]:
    best = "best configuration" if sealed.top == 1 else f"best {sealed.top} configurations"
    unit = "repeat of the search" if sealed.repeats else "cell"
    yield (
        f"* Each cell had a budget of {pluralize(results.spec.search.trials_per_cell, 'trial')}. The {best} of each "
        f"{unit} by {metric.label} was frozen (round {sealed.number}, seal {sealed.seal[:_HASH]}…)."
    )
    yield (
        f"* It was retrained on {pluralize(len(sealed.draws), 'draw')} that no trial had used, with "
        f"{pluralize(sealed.num_seeds, 'seed')} per draw, and tested once."
    )
    named = join_words([f"`{alias}`" for alias in champion_aliases])
    choice = (
        f"{named} names that of the cell with the best mean {metric.label} over its replicates."
        if len(champion_aliases) == 1
        else f"{named} name that of the cell with the best mean {metric.label} on each dataset."
    )
    yield (
        f"* The alias of a cell names its replicate with the best {metric.label}. {choice} Test images decide no alias."
    )


def _table_head(metric: MetricFormat) -> str:
    values = (metric.header(metric.label), metric.header(metric.test_label))
    headers = ("alias", "model", "training images", *values, "95% interval", "draws x seeds")
    # MLflow's page shows no lines and no space between columns.
    return "\n".join(
        (markdown_row(*(f"{header}&nbsp;&nbsp;" for header in headers)), markdown_row(*["---"] * len(headers)))
    )


def _row(
    results: SearchResults, scores: CellScores, champions: Champions, aliases: Mapping[str, str], metric: MetricFormat
) -> str:
    estimate = mean_score(scores)
    is_champion = scores.cell in champions.cells.values()
    interval = metric.interval(estimate.interval) if estimate.interval else estimate.reason or ""
    return markdown_row(
        f"`{aliases[scores.cell]}`{' (champion)' if is_champion else ''}",
        scores.variant.label,
        format_count(scores.num_train_images),
        metric.value(champions.values[scores.cell]),
        metric.value(estimate.value),
        interval,
        _design(scores),
    )


def _design(scores: CellScores) -> str:
    """Return the number of draws with a score, and the largest number of seeds of one."""
    finite = np.isfinite(scores.test_values)
    return f"{int(finite.any(axis=1).sum())} x {int(finite.sum(axis=1).max())}"


def _limits(results: SearchResults, scores: Mapping[str | None, RoundScores]) -> list[str]:
    parts = split_by_dataset(results)
    texts = {
        str(level): write_caveats(parts[level], found, compute_spent(parts[level])) for level, found in scores.items()
    }
    own = "The models were tested on images of the same dataset alone; on other images, accuracy may be lower."
    return [f"* {text}" for text in [own, *join_texts(texts)]]


def _version_card(results: SearchResults, record: Record, cells: Mapping[str, tuple[Round, CellScores]]) -> str:
    """Return the card of one replicate: its data, its own values, and those of its cell."""
    assert record.replicate is not None
    assert record.facts is not None
    replicate, metric = record.replicate, MetricFormat(results.metric)
    fraction = record.spec.configuration.data_fraction
    share = f" ({100 * fraction:g}% of those not held out)" if fraction is not None else ""
    lines = [
        f"Replicate `{record.trial_id}` of the search `{results.name}`: trial `{replicate.of}`, retrained on draw "
        f"{replicate.draw} with seed {replicate.seed}.",
        f"* Data: {format_count(record.facts.num_train_images)} training images of `{record.spec.dataset}`{share}, "
        f"manifest {record.facts.subset_hash[:_HASH]}…",
        f"* {capitalize(metric.label)}: {metric.value_with_unit(results.metric_value(record))}.",
    ]
    tested = record.test.value(results.metric.test_field or "") if record.test else None
    if tested is not None:
        value = metric.value_with_unit(results.metric.scale * tested)
        lines.append(f"* {capitalize(metric.test_label)}: {value}, of this model alone.")
    if record.trial_id in cells:
        sealed, scores = cells[record.trial_id]
        mean = mean_score(scores)
        value = f"{metric.value_with_unit(mean.value)} {metric.interval(mean.interval)}".rstrip()
        lines.append(
            f"* Mean {metric.test_label} of its cell: {value} over {_design(scores)} draws and seeds of round "
            f"{sealed.number}. Expect this of another draw and seed, not the value of one model."
        )
    return "\n\n".join((lines[0], "\n".join(lines[1:])))


def _fit(
    start: Sequence[str], table: Sequence[str], rows: Sequence[str], limits: Sequence[str], use: Sequence[str]
) -> str:
    """Return the parts of a card, without the limits and rows that would exceed MAX_DESCRIPTION_CHARACTERS."""
    num_rows, num_limits = len(rows), len(limits)
    while True:
        more_rows = [f"{len(rows) - num_rows} more cells are in the report."] if num_rows < len(rows) else []
        more_limits = [f"* {len(limits) - num_limits} more are in the report."] if num_limits < len(limits) else []
        body = [*table[:-1], "\n".join([table[-1], *rows[:num_rows]]), *more_rows]
        card = _paragraphs([*start, *body, "## Limits", *limits[:num_limits], *more_limits, *use])
        if len(card) <= MAX_DESCRIPTION_CHARACTERS or num_rows + num_limits == 0:
            return card[:MAX_DESCRIPTION_CHARACTERS]
        if num_limits > _MIN_LIMITS or num_rows == 0:
            num_limits -= 1
        else:
            num_rows -= 1


def _paragraphs(parts: Sequence[str]) -> str:
    """Join parts by blank lines, and the items of a list by line breaks."""
    text = ""
    for part in parts:
        is_next_item = part.startswith("* ") and text.rpartition("\n")[2].startswith("* ")
        text += ("\n" if is_next_item else "\n\n") * bool(text) + part
    return text
