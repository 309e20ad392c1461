"""The command `doctor`: checks this machine and the files of a search."""

from typing import TYPE_CHECKING, Annotated

import typer

from lkca_search.cli.terminal.arguments import Json
from lkca_search.cli.terminal.output import echo_json, echo_rows
from lkca_search.cli.terminal.streams import echo
from lkca_search.layout import Home

if TYPE_CHECKING:
    from lkca_search.search.machine_checks import MachineCheck


def doctor(
    name: Annotated[
        str | None, typer.Argument(help="Name of a search, whose files are checked too. Default: this machine alone.")
    ] = None,
    json: Json = False,
) -> None:
    """Check this machine: folders, disks, sockets, cluster, databases, code and versions. Nothing is changed.

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
    echo_json(checks) if json else _show(checks)
    if any(check.problem for check in checks):
        raise typer.Exit(1)


def _show(checks: "list[MachineCheck]") -> None:
    echo_rows(("check", "found"), [(check.name, check.value) for check in checks if check.problem is None])
    for check in checks:
        if check.problem is not None:
            echo(f"! {check.name}: {check.problem}")
