"""Commands before a search: init, which writes a space file, and plan: size, cost and duration of a search."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from lkca_search.api.new_space import (
    SCHEMA,
    NewSpace,
    has_few,
    parse_dataset,
    parse_families,
    parse_fractions,
    parse_trials,
)
from lkca_search.api.output import check_output_file
from lkca_search.api.plan import plan as make_plan
from lkca_search.api.space_schema import schema_text
from lkca_search.cli.data import download_bars
from lkca_search.cli.terminal.arguments import Json, Overrides, Space
from lkca_search.cli.terminal.folding import echo_prose
from lkca_search.cli.terminal.output import describe_images, echo_json, echo_rows
from lkca_search.cli.terminal.streams import echo, is_interactive
from lkca_search.cli.terminal.tables import format_range
from lkca_search.errors import UserError
from lkca_search.layout import Home
from lkca_search.paths import write_atomically
from lkca_search.recipe import FEW_EPOCHS, MANY_EPOCHS
from lkca_search.reporting.values.numbers import format_compact, format_duration, format_epochs, pluralize

if TYPE_CHECKING:
    from lkca_search.search.planning.calibration import CalibrationRun, HoldoutResult, Measurement
    from lkca_search.search.planning.plan import Plan, PlannedCell

T = TypeVar("T")


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Space file to write. It must not exist.")] = Path(
        "search.yaml"
    ),
    dataset: Annotated[
        str | None, typer.Option(help="A name from `data list`, folder:PATH or parquet:PATH. Default: digits.")
    ] = None,
    families: Annotated[
        str | None, typer.Option(help="Model families to compare, separated by commas. Default: lkca,vit.")
    ] = None,
    fractions: Annotated[
        str | None,
        typer.Option(
            help="Fractions of the training images, separated by commas. Default: 0.1,1, or 0.5,1 of under 500 images."
        ),
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials per cell. Default: 6.")] = None,
    schema: Annotated[
        bool,
        typer.Option(
            "--schema",
            help=f"Also write {SCHEMA} into the folder of FILE, with which an editor completes and checks the keys. "
            "Default: no schema.",
        ),
    ] = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Take the default of every other option. Default: questions in a terminal."),
    ] = False,
) -> None:
    """Write a commented space file from four answers: dataset, families, sizes of the training set, trials per cell.

    In a terminal, there is a question per answer that no option gives. Elsewhere its default is taken. The size of the
    models and the length of the trainings suit the number of training images.
    """
    if file.exists() or file.is_symlink():
        raise UserError(f"FILE must be a new file, got {file}, which exists; choose another name")
    check_output_file(file, "FILE")
    asks = not yes and is_interactive()
    find_dataset = partial(parse_dataset, home=Home.from_environment())
    question = "Dataset (a name from `data list`, or folder:PATH)"
    found = _answer(question, dataset, "digits", find_dataset, asks)
    sizes = "0.5, 1" if has_few(found.num_images) else "0.1, 1"
    find_fractions = partial(parse_fractions, dataset=found)
    answers = NewSpace(
        dataset=found.name,
        num_images=found.num_images,
        families=_answer("Model families to compare", families, "lkca, vit", parse_families, asks),
        fractions=_answer("Fractions of the training images", fractions, sizes, find_fractions, asks),
        trials=_answer("Trials per cell", None if trials is None else str(trials), "6", parse_trials, asks),
        has_schema=schema,
    )
    if schema:
        write_atomically(file.parent / SCHEMA, schema_text().encode())
    write_atomically(file, answers.text(str(file)).encode())
    if found.test_fault is not None:
        echo_prose(f"warning: {found.test_fault}", err=True)
    echo(f"{file} is written; edit it, or see its cost: lkca-search plan {file}")


def _answer(question: str, given: str | None, default: str, parse: Callable[[str], T], asks: bool) -> T:
    """Return the answer of an option, of the terminal until it is valid, or the default."""
    if given is not None or not asks:
        return parse(default if given is None else given)
    while True:
        try:
            return parse(typer.prompt(question, default=default, err=True))
        except UserError as error:
            echo(str(error), err=True)


def plan(
    space: Space,
    overrides: Overrides = None,
    num_cpus: Annotated[
        int | None, typer.Option(min=1, help="Number of CPU cores to plan for. Default: all cores of this machine.")
    ] = None,
    num_gpus: Annotated[
        int | None,
        typer.Option(
            min=0, help="Number of GPUs to plan for. Default: 1 if trials use a GPU and this machine has one, else 0."
        ),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Time a few configurations on this machine (about a minute). Default: estimate from FLOPs.",
        ),
    ] = False,
    max_hours: Annotated[
        float | None,
        typer.Option(min=0, help="Exit with code 1 if the search would take longer. Default: no limit."),
    ] = None,
    json: Json = False,
) -> None:
    """Show the trials of a search, their cost and the duration. Nothing is trained."""
    with download_bars(quiet=json) as bars:
        result = make_plan(
            space,
            overrides or (),
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            calibrate=calibrate,
            on_download=bars,
            on_measured=None if json else _print_timing,
        )
    echo_json(result) if json else _show(result)
    if max_hours is not None and result.hours > max_hours:
        echo_prose(
            f"too long: {format_duration(result.hours * 3600)} ({result.basis}) exceeds --max-hours {max_hours:g}",
            err=True,
        )
        raise typer.Exit(1)


def _print_timing(num_done: int, num_all: int) -> None:
    echo(f"timed {num_done} of {num_all} configurations", err=True)


def _show(result: "Plan") -> None:
    for dataset in result.datasets:
        echo(f"{dataset.name}: {describe_images(dataset.shape, dataset.num_classes)}")
    echo()
    header = ("cell", "images", "trials", "configurations", "steps", "epochs", "batch", "parameters", "FLOPs")
    echo_rows(
        (*header, "MB per trial", "s per trial", "time"),
        [_row(cell) for cell in result.cells],
        optional=("configurations", "parameters", "batch", "FLOPs"),
    )
    for cell in result.cells:
        if cell.num_trials < cell.budget:
            rule = "a configuration is trained only once"
            echo_prose(f"! {cell.cell} has {cell.num_trials} configurations for {cell.budget} trials: {rule}")
    if result.few_epochs:
        echo_prose(f"! {_few_epochs(result)}")
    if result.many_epochs:
        echo_prose(f"! {_many_epochs(result)}")
    if result.few_steps:
        echo_prose(f"! {_few_steps(result)}")
    if result.unequal_lengths:
        echo_prose(f"! {_unequal_lengths(result)}")
    echo()
    disk = result.disk
    slots = f"{pluralize(result.num_slots, 'trial')} at a time on {result.num_cpus} cores and {result.num_gpus} GPUs"
    rows = [
        ("trials", f"{result.num_trials:,}"),
        *([("replicates (confirmation)", f"{result.num_replicates:,}")] if result.num_replicates else []),
        ("training images seen", f"{result.samples:,}"),
        ("FLOPs", format_compact(result.total_flops)),
        ("disk", ", ".join(f"{_bytes(size)} {name}" for name, size in disk if size)),
        ("memory", f"{_bytes(result.num_slots * max(cell.memory_bytes[1] for cell in result.cells))} at most, {slots}"),
        ("time", f"{format_duration(result.hours * 3600)} ({result.basis}), {slots}"),
    ]
    echo_rows(("total", ""), rows)
    if result.calibration is not None:
        _show_calibration(result.calibration)
    echo()
    for note in result.notes:
        echo_prose(note)


def _row(cell: "PlannedCell") -> tuple[str, ...]:
    return (
        cell.cell,
        format_range(*(f"{count:,}" for count in cell.num_train_images)),
        str(cell.num_trials) if cell.num_trials == cell.budget else f"{cell.num_trials} of {cell.budget} !",
        "infinite" if cell.num_configurations is None else f"{cell.num_configurations:,}",
        format_range(*(f"{count:,}" for count in cell.steps)),
        format_range(*map(format_epochs, cell.epochs)),
        format_range(*(f"{count:,}" for count in cell.batch_size)),
        format_range(*map(format_compact, cell.num_parameters)),
        format_range(*map(format_compact, cell.flops)),
        format_range(*(f"{count / 1e6:,.0f}" for count in cell.memory_bytes)),
        format_range(*(f"{seconds:,.1f}" if seconds < 10 else f"{seconds:,.0f}" for seconds in cell.trial_seconds)),
        format_duration(cell.seconds),
    )


def _few_epochs(result: "Plan") -> str:
    """Return the warning of short trainings; it names the cell with the fewest epochs."""
    fewest = min(result.cells, key=lambda cell: cell.epochs[0])
    cells = f"{pluralize(len(result.few_epochs), 'cell')} of {len(result.cells)}"
    return (
        f"trials of {cells} have fewer than {FEW_EPOCHS} epochs, and {format_epochs(fewest.epochs[0])} in "
        f"{fewest.cell}: their accuracy may still rise when they end; raise {' or '.join(result.length_keys)}"
    )


def _many_epochs(result: "Plan") -> str:
    """Return the warning of long trainings; it names the cell with the most epochs."""
    most = max(result.cells, key=lambda cell: cell.epochs[1])
    cells = f"{pluralize(len(result.many_epochs), 'cell')} of {len(result.cells)}"
    return (
        f"trials of {cells} have more than {MANY_EPOCHS:,} epochs, and {format_epochs(most.epochs[1])} in {most.cell}: "
        "they repeat few images for a long time; lower the length or the floor in section training"
    )


def _few_steps(result: "Plan") -> str:
    """Return the warning of trials with fewer steps than reports; it names the cell with the fewest steps."""
    fewest = min(result.cells, key=lambda cell: cell.steps[0])
    cells = f"{pluralize(len(result.few_steps), 'cell')} of {len(result.cells)}"
    return (
        f"trials of {cells} have fewer steps than training.reports, and {fewest.steps[0]:,} in {fewest.cell}: they "
        "report after every step; lower training.reports, or raise training.epochs or min_steps"
    )


def _unequal_lengths(result: "Plan") -> str:
    """Return the warning of lengths that differ between cells of one size; the budget in trials is equal."""
    cells = [cell for cell in result.cells if cell.cell in result.unequal_lengths]
    shortest, longest = (pick(cells, key=lambda cell: cell.epochs[end]) for pick, end in ((min, 0), (max, 1)))
    number = f"{pluralize(len(cells), 'cell')} of {len(result.cells)}"
    return (
        f"trainings of {number} differ in length with equal images, from {format_epochs(shortest.epochs[0])} epochs in "
        f"{shortest.cell} to {format_epochs(longest.epochs[1])} in {longest.cell}: budgets are equal in trials only"
    )


def _show_calibration(calibration: "CalibrationRun") -> None:
    echo(f"\ntimed on {calibration.device} in {calibration.seconds:.0f} s")
    header = ("family", "parameters", "FLOPs", "batch", "steps", "ms per step", "ms per evaluated image", "")
    rows = [_timing_row(measured, "fitted") for measured in calibration.fitted]
    if calibration.held_out is not None:
        rows.append(_timing_row(calibration.held_out.measured, "held out"))
    echo_rows(header, rows)
    if calibration.held_out is not None:
        echo_prose(_prediction_error(calibration.held_out))


def _timing_row(measured: "Measurement", role: str) -> tuple[str, ...]:
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


def _prediction_error(held_out: "HoldoutResult") -> str:
    predicted, measured = held_out.predicted_trial_seconds, held_out.measured_trial_seconds
    seconds = f"predicted {predicted:,.1f} s, measured {measured:,.1f} s"
    return f"held-out configuration, seconds per trial: {seconds}, error {held_out.error:+.0%}"


def _bytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
