"""Commands `run` and `confirm`: train all trials of a search, and the replicates of its confirmation."""

from collections.abc import Mapping

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.records.rounds import read_rounds
from lkca_search.records.stored_spec import find_spec, read_spec
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.rounds import design_conflict
from lkca_search.search.driver.stopping import check_start
from lkca_search.search.run_context import RunContext, RunOutcome
from lkca_search.search.search_driver import open_driver
from lkca_search.search.state.best_trials import best_of_cells
from lkca_search.search.state.dataset import with_located_datasets
from lkca_search.search.state.lease import Lease
from lkca_search.search.state.manifests import write_manifests
from lkca_search.search.state.status import read_status
from lkca_search.search.studies.space_check import check_space, sampled_models
from lkca_search.spec.factors import draws_rule, repeats_of
from lkca_search.spec.search_spec import with_draws
from lkca_search.spec.sections import ConfirmSection
from lkca_search.spec.space_file import SpaceFile
from lkca_search.training.images import open_all_train_images
from lkca_search.training.laws.own_code_check import check_own_code


def run_search(space_file: SpaceFile, folder: SearchFolder, lease: Lease, context: RunContext) -> RunOutcome:
    """Start or resume a search; train until no trial is left, or until a limit, a request or a signal ends it.

    If the space file has a section `confirm`, its confirmation follows. Nothing is committed before the trials are
    placed on the cluster, so a search that is refused does not take its name.

    Raises:
        SpaceFileError: A configuration of the space cannot be trained.
        DataError: The dataset cannot be read.
        SearchError: The space file differs from the one that the search was started with, or no node can run a trial.
        UserError: A disk or a database refuses the driver: no permission, or a read-only file system.
        Interrupted: A disk, a database or the local cluster failed, or a stop came before the first trial.
    """
    folder = folder.with_storage(space_file.spec.storage)
    space_file = with_located_datasets(space_file, folder)
    spec = space_file.spec
    images = open_all_train_images(spec, context.data_dirs, verify=True)
    check_space(space_file, images, started=find_spec(folder))
    for line in check_own_code(space_file, images, context.data_dirs, sampled_models(spec)):
        context.notify(line)
    check_start(lease)
    with open_driver(folder, lease, context, spec, images, space_file=space_file) as driver:
        manifests = write_manifests(spec, images, driver.folder)
        first = next(iter(images.values()))
        queue = Ledger(
            driver.folder,
            spec,
            first.shape,
            len(first.class_names),
            driver.trackers,
            images=images,
            manifests=manifests,
            driver=driver.lease.driver,
            ensure_lease=driver.lease.ensure,
            opened=driver.opened,
            reader=driver.reader,
        )
        for line in queue.notes:
            context.notify(line)
        driver.train(queue, images)
        if spec.confirm is not None and not queue.num_left:
            driver.is_complete, driver.halt_reason = False, queue.halt_reason
            if queue.halt_reason is None and best_of_cells(driver.reader.trials(), spec):
                current = driver.confirm(spec, spec.confirm, images, num_trials_left=0, new_round=False)
                command = f"lkca-search confirm {folder.name} --new-round"
                if conflict := design_conflict(current, spec.confirm.model_dump(), command):
                    context.notify(conflict)
    return driver.outcome()


def confirm(
    folder: SearchFolder,
    requested: Mapping[str, int],
    lease: Lease,
    context: RunContext,
    *,
    new_round: bool,
    unfinished: bool,
) -> RunOutcome:
    """Confirm a search: resume its latest round of confirmation, or seal and train a new one.

    Args:
        folder: Folder of the search.
        requested: Values that override the section `confirm` of the space file.
        lease: Lease of the search.
        context: Machine, cluster and terminal.
        new_round: Seal a new round if the latest one is finished. The first round is sealed in any case.
        unfinished: Allow a new round before all trials of the search are finished.

    Raises:
        SearchError: The search is not finished, or the resumed round differs from `requested`. Other errors as in
            `run_search`.
    """
    spec = read_spec(folder)
    repeats = len(repeats_of(spec.factors, spec.exclude))
    section = (spec.confirm or with_draws(ConfirmSection(), repeats)).with_requested(requested)
    if rule := draws_rule(repeats, section.draws):
        raise SearchError(rule)
    images = open_all_train_images(spec, context.data_dirs, verify=True)
    with open_driver(folder, lease, context, spec, images) as driver:
        status = read_status(folder, driver.reader)
        resumes = bool(status.rounds) and bool(status.rounds[-1].num_left or not new_round)
        options = "".join(f" --{key} {value}" for key, value in requested.items())
        command = f"lkca-search confirm {folder.name}{options} --new-round"
        if resumes and (conflict := design_conflict(read_rounds(folder)[-1], requested, command)):
            raise SearchError(conflict)
        if status.num_left and not unfinished and not resumes:
            rule = f"search {folder.name!r} must be finished, got {status.num_left} unfinished trials"
            raise SearchError(
                f"{rule}: cells have unequal budgets. Run it to its end, or use --unfinished; reports then state this"
            )
        driver.confirm(spec, section, images, num_trials_left=status.num_left, new_round=new_round)
        driver.is_complete = driver.is_complete and not status.num_left
    return driver.outcome()
