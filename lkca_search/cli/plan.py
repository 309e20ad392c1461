"""The command that starts nothing: plan."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lkca_search.cli.data import data_dir, download_bars
from lkca_search.cli.output import Json, echo_json, echo_rows
from lkca_search.layout import Home
from lkca_search.report.values.numbers import format_compact
from lkca_search.spec.space_file import read_space_file

if TYPE_CHECKING:
    from lkca_search.search.planning.calibration import CalibrationRun, HeldOut, Measured
    from lkca_search.search.planning.plan import Plan, PlannedCell


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(plan)


def plan(
    space: Annotated[Path, typer.Argument(help="Space file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.sub=value, or ~key.sub to leave it out.")] = None,
    num_cpus: Annotated[int | None, typer.Option(min=1, help="Cores; by default this machine's.")] = None,
    num_gpus: Annotated[int | None, typer.Option(min=0, help="GPUs; by default one if this machine has any.")] = None,
    pilot: Annotated[bool, typer.Option("--pilot", help="Time a few configurations, for a minute.")] = False,
    max_hours: Annotated[float | None, typer.Option(min=0, help="Exit code 1 if it would take longer.")] = None,
    json: Json = False,
) -> None:
    """Say what `run` would train, what that takes and how long; nothing is started."""
    space_file = read_space_file(space, overrides or ())
    from lkca_search.search.planning.plan import make_plan
    from lkca_search.training.images import DataDirs, open_train_images

    data_dirs = DataDirs(cache=Home.from_environment().datasets, data_dir=data_dir())
    with download_bars(quiet=json) as bars:
        open_train_images(space_file.spec.data, data_dirs, progress=bars)
    made = make_plan(
        space_file,
        data_dirs,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        pilot=pilot,
        on_measured=_say_nothing if json else _say_measured,
    )
    echo_json(made) if json else _show(made)
    if max_hours is not None and made.hours > max_hours:
        typer.echo(f"too long: {_duration(made.hours * 3600)} ({made.basis}), --max-hours {max_hours:g}", err=True)
        raise typer.Exit(1)


def _say_nothing(done: int, of: int) -> None:
    pass


def _say_measured(done: int, of: int) -> None:
    typer.echo(f"timed {done} of {of} configurations", err=True)


def _show(made: "Plan") -> None:
    height, width, channels = made.shape
    typer.echo(f"{made.dataset}: {height}x{width}x{channels} images of {made.num_classes} classes\n")
    header = ("cell", "images", "trials", "configurations", "steps", "parameters", "FLOPs", "MB a trial", "s a trial")
    echo_rows((*header, "hours"), [_row(cell) for cell in made.cells])
    for cell in made.cells:
        if cell.num_trials < cell.budget:
            repeats = "repeats are not trained again"
            typer.echo(f"! {cell.cell} has {cell.num_trials} configurations for {cell.budget} trials: {repeats}")
    typer.echo()
    disk = made.disk
    slots = f"{made.num_slots} at once on {made.num_cpus} cores and {made.num_gpus} GPUs"
    rows = [
        ("trials", f"{made.num_trials:,}"),
        *([("replicates that confirm", f"{made.num_replicates:,}")] if made.num_replicates else []),
        ("training images seen", f"{made.samples:,}"),
        ("FLOPs", f"{made.total_flops / 1e15:,.3f} P"),
        (
            "disk",
            f"{_bytes(disk.images)} images, {_bytes(disk.records)} records, {_bytes(disk.checkpoints)} checkpoints",
        ),
        ("memory", f"{_bytes(made.num_slots * max(cell.memory_bytes[1] for cell in made.cells))} at most, {slots}"),
        ("time", f"{_duration(made.hours * 3600)} ({made.basis}), {slots}"),
    ]
    echo_rows(("in all", ""), rows)
    if made.pilot is not None:
        _show_pilot(made.pilot)
    typer.echo()
    for note in made.notes:
        typer.echo(note)


def _row(cell: "PlannedCell") -> tuple[str, ...]:
    return (
        cell.cell,
        _range(*(f"{count:,}" for count in cell.num_train_images)),
        str(cell.num_trials) if cell.num_trials == cell.budget else f"{cell.num_trials} of {cell.budget} !",
        "infinite" if cell.num_configurations is None else f"{cell.num_configurations:,}",
        _range(*(f"{count:,}" for count in cell.steps)),
        _range(*map(format_compact, cell.num_parameters)),
        _range(*map(format_compact, cell.flops)),
        _range(*(f"{count / 1e6:,.0f}" for count in cell.memory_bytes)),
        _range(*(f"{seconds:,.1f}" if seconds < 10 else f"{seconds:,.0f}" for seconds in cell.trial_seconds)),
        f"{cell.seconds / 3600:,.2f}",
    )


def _show_pilot(pilot: "CalibrationRun") -> None:
    typer.echo(f"\ntimed on {pilot.device} in {pilot.seconds:.0f} s")
    header = ("family", "parameters", "FLOPs", "batch", "steps", "ms a step", "ms an evaluated image", "")
    rows = [_measured(measured, "fitted") for measured in pilot.fitted]
    if pilot.held_out is not None:
        rows.append(_measured(pilot.held_out.measured, "held out"))
    echo_rows(header, rows)
    if pilot.held_out is not None:
        typer.echo(_error(pilot.held_out))


def _measured(measured: "Measured", role: str) -> tuple[str, ...]:
    return (
        measured.family,
        format_compact(measured.num_parameters),
        format_compact(measured.flops),
        str(measured.batch_size),
        str(measured.num_steps),
        f"{measured.step_seconds * 1e3:,.1f}",
        f"{measured.evaluation_seconds * 1e3:,.2f}",
        role,
    )


def _error(held_out: "HeldOut") -> str:
    predicted, measured = held_out.predicted_trial_seconds, held_out.measured_trial_seconds
    seconds = f"predicted {predicted:,.1f} s, {measured:,.1f} s at what was measured"
    return f"a trial of the one held out: {seconds}, error {held_out.error:+.0%}"


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _bytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} hours" if seconds >= 3600 else f"{seconds / 60:,.1f} minutes"
