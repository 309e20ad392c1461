"""Run of a search in which nothing is due. It imports none of torch, Optuna and Ray, and MLflow only to send runs."""

from collections.abc import Mapping
from functools import partial

from lkca_search.data.store import Images
from lkca_search.layout import SearchFolder
from lkca_search.records.inspection.kernel_table import write_kernels
from lkca_search.records.record import RecordReader, State
from lkca_search.records.search.dataset import list_shortages
from lkca_search.records.search.looks import register_looks
from lkca_search.records.stored_spec import find_spec
from lkca_search.records.tables import write_tables
from lkca_search.search.description import describe_search
from lkca_search.search.driver.rounds import design_conflict, find_or_open_round
from lkca_search.search.driver.stopping import check_start
from lkca_search.search.health.ledger_trials import has_all_trials
from lkca_search.search.received_runs import has_received, note_received
from lkca_search.search.registration import register_confirmed
from lkca_search.search.run_context import RunContext, RunOutcome
from lkca_search.search.state.best_trials import best_of_search
from lkca_search.search.state.dataset import check_search, commit_search, describe_datasets
from lkca_search.search.state.lease import Lease
from lkca_search.search.state.manifests import write_manifests
from lkca_search.search.state.status import SearchStatus, read_status
from lkca_search.search.sync import open_store
from lkca_search.spec.cells import specs_by_dataset
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.space_file import SpaceFile
from lkca_search.tracking.mlflow_tracker import SyncResult, send_missing
from lkca_search.training.images import open_split

_MLFLOW_SECONDS = 60.0
"""Time for MLflow to receive what it lacks."""


def run_if_idle(
    space_file: SpaceFile,
    folder: SearchFolder,
    lease: Lease,
    context: RunContext,
    images: Mapping[str | None, Images],
) -> RunOutcome | None:
    """Resume a search in which nothing is due, and return its outcome; None if something may be due.

    It writes, prints and refuses what `run_search` does, with two exceptions. It does not compare pixels with their
    hash. It does not check the space, which was checked at the start. A search with own code, damaged files, an
    incomplete ledger, or limits that failures may have reached is left to `run_search`.

    Args:
        space_file: Space file with the places of its datasets.
        folder: Folder of the search.
        lease: Lease of the search.
        context: Machine, cluster and terminal.
        images: Training images per level of the factor `dataset`.

    Raises:
        SearchError: The images have changed since the search was started.
        Interrupted: A stop was requested.
    """
    spec = space_file.spec
    reader = context.reader or RecordReader(folder)
    if find_spec(folder) != spec or list(spec.own_code()):
        return None
    status = read_status(folder, reader)
    if not _is_finished(status, spec) or _may_have_ended_early(spec, reader):
        return None
    if not has_all_trials(folder, reader.trials()):
        return None
    check_start(lease)
    datasets = describe_datasets(spec, images)
    check_search(folder, datasets, reader, space_file)
    commit_search(folder, datasets, reader, space_file)
    for line in list_shortages(datasets.values()):
        context.notify(line)
    write_manifests(spec, images, folder)
    if spec.confirm is not None and status.rounds:
        _check_round(folder, spec, reader, context)
    write_tables(reader.trials(), reader.replicates(), folder.root)
    write_kernels(folder, reader.replicates(), folder.root)
    is_tracked = has_received(folder, context.home, reader)
    sent = None if is_tracked else _send(folder, spec, context, reader)
    lease.release()
    return RunOutcome(
        status=status.model_copy(update={"is_driven": False, "driver": None}),
        halt_reason=None,
        num_untracked=sent.num_missing if sent else 0,
        tracking_fault=sent.fault if sent else None,
    )


def _is_finished(status: SearchStatus, spec: SearchSpec) -> bool:
    """Return True if nothing is damaged, and no trial or required replicate is left."""
    is_confirmed = bool(status.rounds) and not status.rounds[-1].num_left
    is_to_be_confirmed = spec.confirm is not None and (status.has_complete_trial or bool(status.rounds))
    return not status.num_damaged and not status.num_left and (is_confirmed or not is_to_be_confirmed)


def _may_have_ended_early(spec: SearchSpec, reader: RecordReader) -> bool:
    """Return True if failures may have reached `limits.max_failures`, which ends a driver with another line."""
    if spec.limits.max_failures is None:
        return False
    return any(record.state is State.FAIL for record in (*reader.trials(), *reader.replicates()))


def _check_round(folder: SearchFolder, spec: SearchSpec, reader: RecordReader, context: RunContext) -> None:
    """Compare the test images with those of the rounds, and register the rounds; state a changed design."""
    assert spec.confirm is not None
    test_hashes = {  # the classes were checked when the round was sealed
        level: open_split(part.data, context.data_dirs, "test").content_hash
        for level, part in specs_by_dataset(spec).items()
    }
    current = find_or_open_round(
        folder, spec, spec.confirm, reader, test_hashes=test_hashes, num_trials_left=0, new_round=False
    )
    register_looks(folder, context.home)
    command = f"lkca-search confirm {folder.name} --new-round"
    if conflict := design_conflict(current, spec.confirm.model_dump(), command):
        context.notify(conflict)


def _send(folder: SearchFolder, spec: SearchSpec, context: RunContext, reader: RecordReader) -> SyncResult:
    """Send MLflow what it lacks; return the fault, and the number of runs that it may still lack."""
    result = send_missing(
        lambda: open_store(folder, context.home, trusts_mark=True),
        folder,
        reader,
        complete=True,
        best=best_of_search(reader.trials(), spec),
        patience_seconds=_MLFLOW_SECONDS,
        notify=context.notify,
        register=lambda store: register_confirmed(store, folder, reader),
        describe=partial(describe_search, folder, reader),
    )
    if result.fault is None and not result.num_missing:
        note_received(folder, context.home, reader)
    return result
