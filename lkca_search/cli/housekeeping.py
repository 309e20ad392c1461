"""Commands for whole searches: delete, rename, archive, restore."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lkca_search.api.output import check_output_file
from lkca_search.cli.terminal.arguments import Json, Ledger, Name
from lkca_search.cli.terminal.folding import echo_note, echo_prose
from lkca_search.cli.terminal.output import echo_json, echo_rows
from lkca_search.cli.terminal.streams import echo, is_interactive
from lkca_search.errors import SearchError, UserError
from lkca_search.layout import Home
from lkca_search.paths import AnyPath, parse_path
from lkca_search.reporting.values.numbers import format_bytes, pluralize

if TYPE_CHECKING:
    from lkca_search.search.housekeeping.archive import ArchiveReport
    from lkca_search.search.housekeeping.deletion import DeletionPlan

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Default: ask in a terminal, else refuse.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show everything that would change, and change nothing.")]


def delete(
    name: Name,
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Delete its MLflow runs and registered model too. Default: keep them.")
    ] = False,
    cache: Annotated[
        bool,
        typer.Option(
            "--cache", help="Delete the decoded datasets that no other search uses, too. Default: list and keep them."
        ),
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    ledger: Ledger = None,
    json: Json = False,
) -> None:
    """Delete a search: its folder, the trials in its storage, and its ledger. The search must not be running.

    The register of looks at test images stays: a look remains a look. If the command is interrupted, repeat it.
    """
    from lkca_search.search.housekeeping.deletion import delete_search, plan_deletion

    _check_json(json, yes=yes, dry_run=dry_run)
    home = Home.from_environment()
    plan = plan_deletion(name, home, with_mlflow=mlflow, with_cache=cache)
    echo_json(plan) if json else _show_deletion(plan)
    if dry_run:
        return
    _refuse_running(plan)
    _confirm("delete", f"Delete search {name}?", yes=yes)
    flags = [flag for flag, is_set in (("--mlflow", mlflow), ("--cache", cache)) if is_set]
    command = shlex.join(["lkca-search", "delete", name, *flags, "--yes"])
    delete_search(plan, home, command=command, ledger=ledger, notify=echo_note)
    if json:
        return
    echo(f"search {name} is deleted: {format_bytes(plan.num_bytes)} freed")
    if plan.tracked is not None and plan.tracked.run_ids:
        from lkca_search.tracking.registry.search_entities import collection_command

        echo(f"MLflow frees the space of its deleted runs by: {collection_command(home)}")


def rename(
    name: Name,
    new_name: Annotated[str, typer.Argument(help="New name, which no search has.")],
    dry_run: DryRun = False,
) -> None:
    """Rename a search that is not running: its folder, the trials in its storage, its ledger and its MLflow runs.

    `run SPACE --name NEW_NAME` resumes it. If the command is interrupted, repeat it.
    """
    from lkca_search.records.search.uid import read_uid
    from lkca_search.search.housekeeping.renaming import complete_renaming, find_renamed, rename_search
    from lkca_search.search.housekeeping.sizes import measure_search
    from lkca_search.search.state.lease_status import read_lease
    from lkca_search.tracking.registry.search_entities import rename_tracked

    home = Home.from_environment()
    if dry_run:
        if find_renamed(name, new_name, home) is not None:
            echo(f"search {name} is being renamed to {new_name}: repeat the command without --dry-run to complete it")
            return
        folder = home.started_search(name)
        sizes = [(size.kind, f"{size.num_files:,}", size.place) for size in measure_search(folder)]
        echo_rows(("files", "number", "folder"), sizes)
        running = "; it is running, so stop it first" if read_lease(folder).is_held else ""
        echo(f"search {name} would be renamed to {new_name}, with its ledger and its MLflow runs{running}")
        return
    command = shlex.join(["lkca-search", "rename", name, new_name])
    folder = rename_search(name, new_name, home, command=command, notify=echo_note)
    uid = read_uid(folder)
    try:
        num_runs = rename_tracked(home, uid, new_name) if uid else 0
    except SearchError as error:
        complete_renaming(folder)
        echo(f"search {name} is now {new_name}; the next run, or lkca-search sync {new_name}, renames it in MLflow")
        echo_prose(f"{error}", err=True)
        raise typer.Exit(1) from error
    complete_renaming(folder)
    echo(f"search {name} is now {new_name}, with {pluralize(num_runs, 'run')} in MLflow")


def archive(
    name: Name,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="File or URL of the archive. Default: NAME.tar.zst in the working directory."
        ),
    ] = None,
    delete_it: Annotated[
        bool, typer.Option("--delete", help="Delete the search when the archive is written and checked.")
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Write a search into one compressed file, and read it back. `restore` brings it back, in this home or another.

    Checkpoints of unfinished trials are left out. MLflow runs and the register of looks at test images stay in place.
    """
    from lkca_search.search.housekeeping.archive import default_file, plan_archive, write_archive
    from lkca_search.search.housekeeping.deletion import delete_search, plan_deletion

    if delete_it:
        _check_json(json, yes=yes, dry_run=dry_run)
    home = Home.from_environment()
    folder = home.started_search(name)
    file = default_file(name) if to is None else parse_path(to)
    _check_new_file(file)
    if dry_run:
        report = plan_archive(folder, file)
        echo_json(report) if json else _show_archive(report)
        return
    if delete_it:
        _refuse_running(plan_deletion(name, home))
        _confirm("archive --delete", f"Archive search {name}, then delete it?", yes=yes)
    report = write_archive(folder, file, notify=echo_note)
    echo_json(report) if json else _show_archive(report)
    if delete_it:
        command = shlex.join(["lkca-search", "delete", name, "--yes"])
        plan = plan_deletion(name, home)
        delete_search(plan, home, command=command, notify=echo_note)
        if not json:
            echo(f"search {name} is deleted: {format_bytes(plan.num_bytes)} freed")


def restore(
    file: Annotated[str, typer.Argument(metavar="FILE", help="File or URL of an archive.")],
    name: Annotated[str | None, typer.Option(help="Name of the restored search. Default: the one that it had.")] = None,
    ledger: Ledger = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="Storage of the trials outside the home, as the archive states it. Default: refuse to write there.",
        ),
    ] = None,
) -> None:
    """Restore a search from an archive. Nothing is overwritten, and nothing in the file is executed."""
    from lkca_search.search.housekeeping.restoring import restore_search

    folder = restore_search(parse_path(file), Home.from_environment(), name=name, ledger=ledger, storage=storage)
    echo(f"search {folder.name} is restored: {folder.root}")


def _check_json(json: bool, *, yes: bool, dry_run: bool) -> None:
    if json and not (yes or dry_run):
        raise UserError("--json must have --yes or --dry-run here: a question would be no JSON")


def _refuse_running(plan: "DeletionPlan") -> None:
    if plan.driver is not None:
        rule = f"search {plan.search!r} must not be running, got {plan.driver}"
        raise SearchError(f"{rule}; stop it first: lkca-search stop {plan.search}")


def _confirm(command: str, question: str, *, yes: bool) -> None:
    """Ask the user. Exit with code 1 if the answer is no; UserError if there is no terminal to ask in."""
    if yes:
        return
    if not is_interactive():
        raise UserError(f"`{command}` must have --yes outside a terminal; --dry-run shows what it changes")
    if not typer.confirm(question, err=True):
        echo("nothing is changed", err=True)
        raise typer.Exit(1)


def _check_new_file(file: AnyPath) -> None:
    if file.exists():
        raise UserError(f"--to must be a new file, got {file}, which exists; choose another name")
    if isinstance(file, Path):
        check_output_file(file, "--to")


def _show_deletion(plan: "DeletionPlan") -> None:
    rows = [
        *((size.kind, f"{size.num_files:,}", format_bytes(size.num_bytes), size.place) for size in plan.folders),
        *([("ledger", "", format_bytes(plan.ledger.num_bytes), plan.ledger.place)] if plan.ledger else []),
        *(
            (f"decoded {each.split}", "1", format_bytes(each.num_bytes), each.path)
            for each in (plan.cached if plan.deletes_cache else ())
        ),
    ]
    echo_rows(("delete", "files", "size", "place"), rows)
    if plan.tracked is not None:
        runs, models = pluralize(len(plan.tracked.run_ids), "run"), pluralize(len(plan.tracked.model_ids), "model")
        registered = (
            f" and the registered model {', '.join(plan.tracked.registered)}" if plan.tracked.registered else ""
        )
        echo(f"in MLflow: {runs}, {models}{registered}")
    echo(f"\n{format_bytes(plan.num_bytes)} in total")
    for line in _list_kept(plan):
        echo_prose(line)
    if plan.driver is not None:
        echo(f"! it is running ({plan.driver}): lkca-search stop {plan.search}")


def _list_kept(plan: "DeletionPlan") -> list[str]:
    lines = []
    if plan.num_looks:
        looks = pluralize(plan.num_looks, "look")
        lines.append(f"kept: {looks} at test images in the register (test_looks/), since a look remains a look")
    if plan.tracked is None:
        lines.append("kept: runs and models in MLflow (--mlflow deletes them)")
    if plan.cached and not plan.deletes_cache:
        size = format_bytes(sum(each.num_bytes for each in plan.cached))
        names = ", ".join(dict.fromkeys(each.dataset for each in plan.cached))
        lines.append(f"kept: {size} of decoded images that no other search uses ({names}; --cache deletes them)")
    return lines


def _show_archive(report: "ArchiveReport") -> None:
    files = f"{pluralize(report.num_files, 'file')}, {format_bytes(report.num_bytes)}"
    if report.num_archived_bytes is None:
        echo(f"{report.file} would have {files}")
    else:
        echo(f"{report.file} has {files} in {format_bytes(report.num_archived_bytes)}, and was read back")
    if report.num_left_out:
        left_out = f"{pluralize(report.num_left_out, 'file')}, {format_bytes(report.num_left_out_bytes)}"
        echo(f"left out: {left_out} (checkpoints, locks, Ray's state)")
