"""Choice of one kept model of a search: that of a replicate or trial, or the champion of a cell or of the search."""

from collections.abc import Callable, Sequence
from functools import partial

from lkca_search.errors import SearchError, did_you_mean
from lkca_search.layout import MODEL, SearchFolder
from lkca_search.records.model_description import model_folder
from lkca_search.records.objectives import rank_trials
from lkca_search.records.record import Record, RecordReader, State
from lkca_search.records.search.champions import find_champion
from lkca_search.records.stored_spec import read_spec
from lkca_search.spec.cells import cells, dataset_levels
from lkca_search.spec.search_spec import SearchSpec

_MAX_LISTED = 10
"""Replicates that an error lists."""


def choose_record(folder: SearchFolder, wanted: str | None, reader: RecordReader) -> Record:
    """Return the record of a trial or replicate whose model is kept.

    Validation decides, as everywhere; test results choose nothing.

    Args:
        folder: Folder of the search.
        wanted: Id of a replicate or trial, or a cell; None for the whole search. For a search and a cell, it is the
            champion of the confirmation. Before a round is complete, it is the first finished replicate of the best
            trial; without kept replicates, it is the trial.
        reader: Reader of the records; it lists the damaged ones, which are left out.

    Raises:
        SearchError: There is no such cell, trial or replicate, or its model is not kept.
    """
    spec = read_spec(folder)
    trials, replicates = reader.trials(), reader.replicates()
    keys = [cell.key for cell in cells(spec)]
    if wanted is None and len(dataset_levels(spec)) > 1:
        rule = f"search {folder.name!r} has several datasets, whose values cannot be compared"
        raise SearchError(f"{rule}: give a cell, {folder.name}/CELL ({' '.join(keys)})")
    if wanted is None or wanted in keys:
        is_kept = partial(_is_kept, folder)
        found = find_champion(folder, spec, replicates, cell=wanted, is_kept=is_kept)
        found = found or _best([each for each in (*trials, *replicates) if wanted in (None, each.cell)], spec, is_kept)
        if found is None:
            raise SearchError(_missing(folder, wanted, replicates))
        return found
    named = [record for record in (*trials, *replicates) if record.trial_id == wanted]
    own = [record for record in replicates if record.replicate and record.replicate.of == wanted]
    for record in (*named, *own):
        if _is_kept(folder, record):
            return record
    if named or own:
        raise SearchError(_missing(folder, wanted, replicates))
    kept = [record.trial_id for record in replicates if _is_kept(folder, record)]
    more = [f"and {len(kept) - _MAX_LISTED} more"] if len(kept) > _MAX_LISTED else []
    listed = (
        f"its kept models: {' '.join([*kept[:_MAX_LISTED], *more])}" if kept else _missing(folder, None, replicates)
    )
    hint = did_you_mean(wanted, [*keys, *(record.trial_id for record in (*trials, *replicates))])
    raise SearchError(f"search {folder.name!r} has no cell, finished trial or replicate {wanted!r}{hint}; {listed}")


def _best(records: Sequence[Record], spec: SearchSpec, is_kept: Callable[[Record], bool]) -> Record | None:
    """Return the first replicate with a kept model of the best trial that has one; without any, the best trial."""
    ranked = rank_trials([record for record in records if record.replicate is None], spec.search)
    ranks = {trial.trial_id: rank for rank, trial in enumerate(ranked)}
    replicates = [(ranks.get(record.replicate.of, len(ranks)), record) for record in records if record.replicate]
    of_replicates = [record for _, record in sorted(replicates, key=lambda each: each[0])]  # stable: draw, then seed
    of_trials = ranked if spec.keep.weights == "best" else []
    return next((record for record in (*of_replicates, *of_trials) if is_kept(record)), None)


def _is_kept(folder: SearchFolder, record: Record) -> bool:
    return record.state is State.COMPLETE and (model_folder(folder, record) / MODEL).exists()


def _missing(folder: SearchFolder, wanted: str | None, replicates: Sequence[Record]) -> str:
    """Return the message on a model that is not kept, with the remedy."""
    subject = f"{folder.name}/{wanted}" if wanted else f"search {folder.name!r}"
    if not replicates:
        return f"{subject} has no kept model: it is not confirmed yet; `lkca-search confirm {folder.name}`"
    return (
        f"{subject} has no kept model: `keep: {{weights: replicates}}` in a space file keeps those of later trainings, "
        f"and `lkca-search rerun {folder.name} --trial ID --save FOLDER` trains one again"
    )
