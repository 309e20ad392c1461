"""The command `doctor`: checks this machine and the files of a search."""

from typing import TYPE_CHECKING

import typer

from lkca_search.cli.arguments import Json
from lkca_search.cli.terminal.output import echo_json, echo_rows
from lkca_search.cli.terminal.streams import echo

if TYPE_CHECKING:
    from lkca_search.search.machine_checks import MachineCheck


def doctor(json: Json = False) -> None:
    """Check this machine: folders, disks, sockets, cluster, databases, code and versions. Nothing is changed.

    The exit code is 1 if there is a problem.
    """
    from lkca_search.search.machine_checks import check_machine

    checks = list(check_machine())
    echo_json(checks) if json else _show(checks)
    if any(check.problem for check in checks):
        raise typer.Exit(1)


def _show(checks: "list[MachineCheck]") -> None:
    echo_rows(("check", "found"), [(check.name, check.value) for check in checks if check.problem is None])
    for check in checks:
        if check.problem is not None:
            echo(f"! {check.name}: {check.problem}")
