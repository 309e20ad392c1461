"""Results that were edited by hand: a record states a number several times, and the files beside it once more."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from lkca_search.layout import SearchFolder
from lkca_search.paths import AnyPath
from lkca_search.records.finding import DamagedError, Finding
from lkca_search.records.model_description import model_folder, read_description
from lkca_search.records.objectives import measure
from lkca_search.records.record import Record
from lkca_search.trial_listing import RECORD

_REMEDY = "restore the edited file from a backup, or delete the attempt's folder: the next driver trains it again"


def find_edited_results(
    folder: SearchFolder, records: Sequence[Record], accuracies: Mapping[str, float]
) -> Iterator[Finding]:
    """Yield a finding per record whose result differs from its curve, its predictions or its model.

    `accuracies` has the accuracy of the predictions of each replicate, by its id. A damaged file proves nothing.
    """
    for record in records:
        kept = model_folder(folder, record)
        for subject, stated, source, found in (*_in_record(record), *_beside_record(record, kept, accuracies)):
            if stated != found:
                damage = f"{subject} must be that of its {source}, {found!r}, got {stated!r}"
                yield Finding(place=str(kept / RECORD), damage=damage, remedy=_REMEDY)
                break


def _in_record(record: Record) -> Iterator[tuple[str, object, str, object]]:
    """Yield the value of a record, and the same number in its last result or its test."""
    if record.value is None or record.facts is None:
        return
    if record.test is not None and record.metric.startswith("test_"):
        yield "the value", record.value, "test result", record.test.value(record.metric.removeprefix("test_"))
    elif record.curve:
        with suppress(KeyError):  # a metric that records of an earlier version do not have
            yield "the value", record.value, "last result", measure(record.metric, record.curve[-1], record.facts)


def _beside_record(
    record: Record, kept: AnyPath, accuracies: Mapping[str, float]
) -> Iterator[tuple[str, object, str, object]]:
    """Yield the test accuracy of a replicate, and that of its predictions and of its model."""
    if record.test is None:
        return
    if record.trial_id in accuracies:
        yield "the test accuracy", record.test.accuracy, "predictions", accuracies[record.trial_id]
    with suppress(DamagedError, FileNotFoundError):
        description = read_description(kept)
        yield "the test accuracy", record.test.accuracy, "model", description.metrics.get("test_accuracy")
