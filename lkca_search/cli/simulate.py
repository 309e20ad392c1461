"""The command that tries a pruner on a finished search: simulate."""

from typing import TYPE_CHECKING, Annotated

import typer

from lkca_search.cli.output import Json, echo_json, echo_rows
from lkca_search.layout import Home

if TYPE_CHECKING:
    from lkca_search.search.simulation.replay import CellReplay, CellSpread, Replay, Spread


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(simulate)


def simulate(
    name: Annotated[str, typer.Argument(help="Name of the search.")],
    pruner: Annotated[str, typer.Option(help="Pruner to try, as a space file names it.")],
    sampler: Annotated[
        str | None, typer.Option(help="Sampler to try; by default the recorded suggestions are replayed.")
    ] = None,
    slots: Annotated[int, typer.Option(min=1, help="Trials that train at once.")] = 1,
    seeds: Annotated[int, typer.Option(min=0, help="Shuffled orders to try besides the recorded one.")] = 0,
    json: Json = False,
) -> None:
    """Show what another pruner would have saved and lost: a finished search replayed from its curves, untrained."""
    from lkca_search.search.simulation.replay import replay

    folder = Home.from_environment().started_search(name)
    found = replay(folder, pruner=pruner, sampler=sampler, num_slots=slots, num_seeds=seeds)
    echo_json(found) if json else _show(found)


def _show(found: "Replay") -> None:
    if found.sampler is None:
        order, orders = "in their recorded order", "shuffled orders"
        typer.echo(f"search {found.search} with pruner {found.pruner}: its trials {order}, {found.num_slots} at once")
    else:
        orders = "other seeds"
        typer.echo(
            f"search {found.search} with pruner {found.pruner} and sampler {found.sampler}, {found.num_slots} at once: "
            "each suggestion has the curve of the nearest recorded configuration"
        )
    header = ("cell", "trials", "pruned", "steps", "saved", f"best {found.metric}", "recorded", "regret", "best pruned")
    echo_rows(header, [_row(cell, is_total=cell is found.cells[-1]) for cell in found.cells])
    if found.spreads:
        typer.echo(f"\nover {found.num_seeds} {orders}: mean, and from where to where 95% of them lie")
        echo_rows(("cell", "pruned", "saved", "regret", "best pruned"), [_spread_row(cell) for cell in found.spreads])
    if found.num_recorded_pruned:
        typer.echo(
            f"\n{found.num_recorded_pruned} recorded trials were pruned, so that their curves are not whole: "
            f"{found.cells[-1].num_cut_short} of them would have gone on here. They end where their curve does and "
            "count as failed; their further steps are not counted, and saved is a share of what was spent when recorded"
        )


def _row(cell: "CellReplay", *, is_total: bool) -> tuple[str, ...]:
    return (
        cell.cell,
        str(cell.num_trials),
        str(cell.num_pruned),
        f"{cell.num_steps:,}",
        f"{cell.share_saved:.0%}",
        _number(cell.best_value),
        _number(cell.recorded_best),
        ("at most " if is_total else "") + _number(cell.regret) if cell.regret is not None else "",
        f"in {cell.best_pruned:.0%}" if is_total else "yes" if cell.best_pruned else "no",
    )


def _spread_row(cell: "CellSpread") -> tuple[str, ...]:
    return (
        cell.cell,
        _spread(cell.num_pruned, ".1f"),
        _spread(cell.share_saved, ".0%"),
        _spread(cell.regret, ".4f") if cell.regret else "",
        f"in {cell.best_pruned:.0%}",
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _spread(spread: "Spread", digits: str) -> str:
    return f"{spread.mean:{digits}} ({spread.low:{digits}} to {spread.high:{digits}})"
