"""Commands that check a machine and complete a search: doctor, repair, sync, inspect."""

from typing import TYPE_CHECKING, Annotated

import typer

from lkca_search.cli.terminal.arguments import Json, Ledger, Name, complete_search
from lkca_search.cli.terminal.folding import echo_note, echo_prose
from lkca_search.cli.terminal.output import echo_json, echo_rows
from lkca_search.cli.terminal.streams import echo
from lkca_search.layout import Home
from lkca_search.reporting.values.numbers import pluralize

if TYPE_CHECKING:
    from lkca_search.search.health.repair import RepairReport
    from lkca_search.search.machine_checks import MachineCheck


def doctor(
    name: Annotated[
        str | None,
        typer.Argument(
            autocompletion=complete_search,
            help="Name of a search, whose files are checked too. Default: this machine alone.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Check this machine: folders, disks, clock, ports, cluster, databases, data, code, versions and GPU.

    Nothing is changed. Each problem is printed with the command that mends it.

    With a NAME, also check the files of that search; `repair` mends them. The exit code is 1 if there is a problem.
    """
    from lkca_search.search.health.checks import scan_search
    from lkca_search.search.machine_checks import MachineCheck, check_machine

    checks = list(check_machine())
    if name is not None:
        home = Home.from_environment()
        findings = scan_search(home.existing_search(name), home)
        checks += [MachineCheck(name=f"search {name}", value="", problem=str(finding)) for finding in findings]
        if not findings:
            checks.append(MachineCheck(name=f"search {name}", value="no damage found", problem=None))
    echo_json(checks) if json else _show_checks(checks)
    if any(check.problem for check in checks):
        raise typer.Exit(1)


def repair(name: Name, ledger: Ledger = None, json: Json = False) -> None:
    """Repair damaged files of a search, and restore its ledger from the records. The search must not be running.

    Damaged files are kept as NAME.damaged-1. A trial without an intact record counts as unfinished: `run` trains it
    again. No trial with a record is trained again. If damage remains that needs you, the exit code is 1.
    """
    from lkca_search.search.health.repair import repair_search

    home = Home.from_environment()
    report = repair_search(home.existing_search(name), home, ledger=ledger)
    echo_json(report) if json else _show(report)
    if report.remaining:
        raise typer.Exit(1)


def sync(
    name: Name,
    register: Annotated[
        bool,
        typer.Option(
            "--register",
            help="Register models again that were deleted in MLflow. Default: they stay deleted.",
        ),
    ] = False,
) -> None:
    """Send the trials that MLflow lacks, and register the confirmed models that its registry lacks.

    Use it after an outage of MLflow. The search must not be running.
    """
    from lkca_search.search.sync import sync as send

    home = Home.from_environment()
    result = send(home.started_search(name), home, again=register, notify=echo_note)
    echo(f"search {name}: {result.num_sent} trials sent, {result.num_missing} missing")
    if result.fault is not None:
        echo_prose(f"MLflow: {result.fault}. Then repeat the command to send the rest.", err=True)
        raise typer.Exit(1)


def inspect(
    name: Name,
    trust_own_code: Annotated[
        bool,
        typer.Option(
            "--trust-own-code",
            help="Import the modules of your own families, which runs their code. Default: leave these models out.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Inspect confirmed models without kernels, attention and receptive fields, from their kept weights.

    Replicates are inspected after their test. This command is for replicates of earlier versions, and for those whose
    inspection was lost. If a replicate could not be inspected, the exit code is 1.
    """
    from lkca_search.api.home import local_data_dirs
    from lkca_search.search.inspection import inspect_search

    home = Home.from_environment()
    outcome = inspect_search(
        home.started_search(name),
        local_data_dirs(home),
        trust_own_code=trust_own_code,
        notify=echo_note,
    )
    if json:
        echo_json(outcome)
    else:
        had = f"{outcome.num_present} had an inspection"
        echo(f"search {name}: {pluralize(outcome.num_inspected, 'replicate')} inspected, {had}")
        for problem in outcome.problems:
            echo_prose(f"! {problem}")
    if outcome.problems:
        raise typer.Exit(1)


def _show(report: "RepairReport") -> None:
    for action in report.actions:
        echo_prose(action)
    if not report.actions and not report.remaining:
        echo(f"search {report.name}: no damage found")
    for finding in report.remaining:
        echo_prose(f"! {finding}")
    if report.kept:
        echo(f"\nkept: {pluralize(len(report.kept), 'damaged file')}")
        for path in report.kept:
            echo(f"  {path}")


def _show_checks(checks: "list[MachineCheck]") -> None:
    echo_rows(("check", "found"), [(check.name, check.value) for check in checks if check.problem is None])
    for check in checks:
        if check.problem is not None:
            echo_prose(f"! {check.name}: {check.problem}")
    if all(check.problem is None for check in checks):
        echo("\nno problem found")
