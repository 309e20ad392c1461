"""Output of `rerun`: differences, results and verdicts, and the list of earlier reruns."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import fmean, stdev

from lkca_search.cli.terminal.folding import echo_prose
from lkca_search.cli.terminal.output import echo_rows
from lkca_search.cli.terminal.streams import echo
from lkca_search.records.rerun import Change, RerunOutcome, RerunRecord, Severity

_MAX_HARMLESS = 10
"""Harmless differences that are listed; another environment may have hundreds of other packages."""


def show_differences(edits: Sequence[str], changes: Sequence[Change]) -> None:
    """Print the differences of data, code and machine, the strongest first; of the harmless ones at most some."""
    if edits:
        echo("not a repeat of the recorded training, so the values are not compared:")
    for edit in edits:
        echo_prose(f"  edited    {edit}")
    harmless = [change for change in changes if change.severity is Severity.HARMLESS]
    for change in [change for change in changes if change not in harmless] + harmless[:_MAX_HARMLESS]:
        echo_prose(f"  {change.severity.value:<8}  {change}")
    if len(harmless) > _MAX_HARMLESS:
        echo(f"  harmless  {len(harmless) - _MAX_HARMLESS} more")
    if not edits and not changes:
        echo("  data, code and machine are those of the recorded training")


def show_rerun(outcome: RerunOutcome) -> None:
    """Print the values and the verdict of a rerun, with its reason."""
    recorded = "" if outcome.recorded is None else f"; recorded {outcome.recorded!r}"
    if outcome.difference is not None:
        recorded += f", difference {outcome.difference!r}"
    echo_prose(f"{outcome.trial_id}: {outcome.metric} {outcome.value!r} after {outcome.step} steps{recorded}")
    if outcome.error is not None:
        echo_prose(f"  failed: {outcome.error}")
    echo_prose(f"{outcome.verdict.value}: {outcome.reason}")


def show_several(outcomes: Sequence[RerunOutcome]) -> None:
    """Print one row per training, and their mean and standard deviation."""
    header = ("draw", "seed", outcomes[0].metric, "verdict")
    rows = [
        (str(each.draw), str(each.seed), "" if each.value is None else f"{each.value:.4f}", each.verdict.value)
        for each in outcomes
    ]
    echo("")
    echo_rows(header, rows)
    values = [each.value for each in outcomes if each.value is not None]
    if len(values) > 1:
        recorded = "" if outcomes[0].recorded is None else f"; recorded {outcomes[0].recorded:.4f}"
        echo_prose(
            f"mean {fmean(values):.4f}, standard deviation {stdev(values):.4f} of {len(values)} trainings{recorded}"
        )


def show_reruns(records: Mapping[str, RerunRecord], search: str) -> None:
    """Print one row per rerun of a search so far."""
    header = ("rerun", "of", "draw", "seed", "metric", "value", "recorded", "verdict", "date")
    rows = []
    for number, record in records.items():
        outcome = record.outcome
        values = ["" if value is None else f"{value:.4f}" for value in (outcome.value, outcome.recorded)]
        date = datetime.fromtimestamp(record.started).strftime("%Y-%m-%d %H:%M")
        randomness = str(outcome.draw), str(outcome.seed)
        rows.append((number, outcome.trial_id, *randomness, outcome.metric, *values, outcome.verdict.value, date))
    echo_rows(header, rows)
    if not rows:
        echo(f"no rerun of {search} yet", err=True)
