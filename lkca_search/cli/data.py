"""Commands for datasets: data list, data prepare, data check."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from lkca_search.api.space import read_space
from lkca_search.cli.terminal.arguments import Json
from lkca_search.cli.terminal.folding import echo_prose
from lkca_search.cli.terminal.output import echo_json, echo_rows
from lkca_search.cli.terminal.streams import console, echo
from lkca_search.cli.terminal.tables import format_range
from lkca_search.cli.usage.help_texts import example
from lkca_search.cli.usage.lazy_commands import PlainCommand, PlainGroup
from lkca_search.layout import Home, local_data_dir
from lkca_search.spec.cells import specs_by_dataset
from lkca_search.spec.sections import DataSection

if TYPE_CHECKING:
    from lkca_search.data.check import Check, Position
    from lkca_search.data.readers.download_cache import Progress as DownloadProgress
    from lkca_search.data.store import StoredSplit

_DUPLICATES_SHOWN = 20
_NEAR_DUPLICATES_SHOWN = 10

Dataset = Annotated[str, typer.Argument(help="A name from `data list`, parquet:PATH or folder:PATH.")]
DatasetOrSpace = Annotated[
    str,
    typer.Argument(
        metavar="DATASET|SPACE",
        help="A name from `data list`, parquet:PATH, folder:PATH, or a space file (.yaml), for all of its datasets.",
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(min=1, help="Resize images to squares of this many pixels. Default: no resizing."),
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Most pixels (width x height) that an image file may have. A small file can decode to any size and fill "
        "the memory, so raise this for your own files only. Default: 178956970.",
    ),
]


class _Options(TypedDict):
    """Options of the functions that open and find decoded images."""

    cache: Path
    data_dir: Path | None
    image_size: int | None


app = typer.Typer(cls=PlainGroup, no_args_is_help=True, add_completion=False)


@app.command("list", cls=PlainCommand, epilog=example("data list"))
def list_datasets(json: Json = False) -> None:
    """List the named datasets, the files found and the splits prepared on this machine."""
    from lkca_search.data.listing import list_datasets

    datasets = list_datasets(cache=_cache(), data_dir=local_data_dir())
    if json:
        echo_json(datasets)
        return
    rows = [
        (
            dataset.name,
            *(_number(count) for count in (dataset.num_classes, dataset.num_train, dataset.num_test)),
            _number(dataset.image_size),
            dataset.found,
            ", ".join(f"{split} {count:,}" for split, count in dataset.prepared.items()),
            dataset.citation or "",
        )
        for dataset in datasets
    ]
    header = ("dataset", "classes", "train", "test", "pixels", "found", "prepared", "cite")
    echo_rows(header, rows, optional=("cite",))


@app.command(cls=PlainCommand, epilog=example("data prepare"))
def prepare(
    dataset: DatasetOrSpace, image_size: ImageSize = None, max_pixels: MaxPixels = None, json: Json = False
) -> None:
    """Download a dataset if needed and decode both splits. Later runs reuse the decoded copy.

    For a space file, prepare each of its datasets, with the image size and the limit in its section `data`.
    """
    from lkca_search.data.store import SPLITS, find_stored, open_images

    cache, folder, splits = _cache(), local_data_dir(), []
    with download_bars(quiet=json) as progress:
        for section in _sections(dataset, image_size, max_pixels):
            place, size = section.place_of(None), section.image_size
            for split in SPLITS:
                options: _Options = {"cache": cache, "data_dir": folder, "image_size": size}
                open_images(place, split, max_pixels=section.max_pixels, progress=progress, **options)
                if (stored := find_stored(place, split, **options)) is not None:
                    splits.append(stored)
    echo_json(splits) if json else _show_splits(splits)


def _sections(dataset: str, image_size: int | None, max_pixels: int | None) -> list[DataSection]:
    """Return a section `data` per dataset: the given one, or those of a space file."""
    if not dataset.endswith((".yaml", ".yml")):
        return [DataSection(dataset=dataset, image_size=image_size, max_pixels=max_pixels)]
    parts = specs_by_dataset(read_space(Path(dataset), (), Home.from_environment()).spec)
    given = {"image_size": image_size, "max_pixels": max_pixels}
    update = {name: value for name, value in given.items() if value is not None}
    return [part.data.model_copy(update=update) for part in parts.values()]


@app.command(cls=PlainCommand, epilog=example("data check"))
def check(dataset: Dataset, image_size: ImageSize = None, max_pixels: MaxPixels = None, json: Json = False) -> None:
    """Check the content, counts and classes of both splits; find duplicates and near-duplicates.

    The exit code is 1 if there is an error. Duplicates and other warnings do not change it.
    """
    from lkca_search.data.check import check_dataset

    with download_bars(quiet=json) as progress:
        result = check_dataset(
            dataset,
            cache=_cache(),
            data_dir=local_data_dir(),
            image_size=image_size,
            max_pixels=max_pixels,
            progress=progress,
        )
    echo_json(result) if json else _show_check(result)
    if result.problems:
        raise typer.Exit(1)


@contextmanager
def download_bars(*, quiet: bool) -> "Iterator[DownloadProgress]":
    """Yield a callback that shows downloads on standard error, one bar per file. With `quiet`, it shows nothing."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    progress = Progress(*columns, console=console(err=True), disable=quiet)
    bars: dict[str, TaskID] = {}

    def show(file: str, received: int, total: int | None) -> None:
        if file not in bars:
            progress.start()  # a display without a bar would leave an empty line
            bars[file] = progress.add_task(file)
        progress.update(bars[file], completed=received, total=total)

    try:
        yield show
    finally:
        if bars:
            progress.stop()


def _cache() -> Path:
    return Home.from_environment().datasets


def _show_splits(splits: "list[StoredSplit] | tuple[StoredSplit, ...]") -> None:
    names = {split.dataset for split in splits}
    rows = [
        (
            split.split if len(names) < 2 else f"{split.dataset} {split.split}",
            f"{split.num_images:,}",
            str(len(split.class_names)),
            format_range(*(f"{count:,}" for count in (min(split.class_counts), max(split.class_counts)))),
            "x".join(str(length) for length in split.shape),
            " ".join(f"{value:.4f}" for value in split.mean),
            " ".join(f"{value:.4f}" for value in split.std),
            str(split.num_converted),
            split.content_hash[:16],
        )
        for split in splits
    ]
    echo_rows(("split", "images", "classes", "images per class", "shape", "mean", "std", "gray to RGB", "sha256"), rows)


def _show_check(result: "Check") -> None:
    _show_splits(result.splits)
    for split in result.splits:
        for note in split.notes:
            echo_prose(f"{split.split}: {note.count:,} {note.kind} (first: {note.first})")
    for warning in result.warnings:
        echo_prose(f"warning: {warning}")
    for duplicate in result.duplicates[:_DUPLICATES_SHOWN]:
        echo_prose(f"warning: {_place(duplicate.image)} has the same pixels as {_place(duplicate.first)}")
    if (more := len(result.duplicates) - _DUPLICATES_SHOWN) > 0:
        echo_prose(f"warning: {more} more duplicates; use --json to list all")
    _show_near_duplicates(result)
    for problem in result.problems:
        echo_prose(f"error: {problem}", err=True)
    if not result.problems:
        echo(f"{result.dataset}: no errors")


def _show_near_duplicates(result: "Check") -> None:
    from lkca_search.data.near_duplicates import THRESHOLD

    if not result.num_similar:
        return
    count = f"{result.num_similar:,} of {result.num_test:,} test images ({result.num_similar / result.num_test:.1%})"
    if not result.near_duplicates:
        echo_prose(f"{count} are similar to a training image: too many to name near-duplicates")
        return
    echo_prose(f"warning: {count} have a near-duplicate in train (similarity at least {THRESHOLD})")
    for pair in result.near_duplicates[:_NEAR_DUPLICATES_SHOWN]:
        echo_prose(f"  {_place(pair.image)} resembles {_place(pair.similar)}, similarity {pair.similarity:.2f}")
    if (more := result.num_similar - _NEAR_DUPLICATES_SHOWN) > 0:
        echo(f"  {more} more near-duplicates; use --json to list all")


def _place(position: "Position") -> str:
    return f"{position.file or f'{position.split} row {position.row}'} ({position.class_name})"


def _number(count: int | None) -> str:
    return "" if count is None else f"{count:,}"
