"""Commands on datasets: data list, data prepare, data check."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from lkca_search.cli.output import Json, echo_json, echo_rows
from lkca_search.layout import Home

if TYPE_CHECKING:
    from lkca_search.data.check import Check
    from lkca_search.data.datasets.download_cache import Progress as DownloadProgress
    from lkca_search.data.store import StoredSplit

_DUPLICATES_SHOWN = 20

Dataset = Annotated[str, typer.Argument(help="A name that `data list` shows, parquet:PATH or folder:PATH.")]
ImageSize = Annotated[int | None, typer.Option(min=1, help="Make every image a square of this many pixels.")]


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    data = typer.Typer(no_args_is_help=True, help="List, prepare and check datasets.")
    data.command("list")(list_datasets)
    data.command()(prepare)
    data.command()(check)
    app.add_typer(data, name="data")


def list_datasets(json: Json = False) -> None:
    """List the datasets that have a name, and what of them is here."""
    from lkca_search.data.listing import list_datasets

    found = list_datasets(cache=_cache(), data_dir=data_dir())
    if json:
        echo_json(found)
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
        for dataset in found
    ]
    echo_rows(("dataset", "classes", "train", "test", "pixels", "found", "prepared", "cite"), rows)


def prepare(dataset: Dataset, image_size: ImageSize = None, json: Json = False) -> None:
    """Decode both splits once, downloading official files that are not here."""
    from lkca_search.data.store import SPLITS, find_stored, open_images

    cache, folder = _cache(), data_dir()
    with download_bars(quiet=json) as progress:
        for split in SPLITS:
            open_images(dataset, split, cache=cache, data_dir=folder, image_size=image_size, progress=progress)
    stored = [find_stored(dataset, split, cache=cache, data_dir=folder, image_size=image_size) for split in SPLITS]
    found = [split for split in stored if split is not None]
    echo_json(found) if json else _show_splits(found)


def check(dataset: Dataset, image_size: ImageSize = None, json: Json = False) -> None:
    """Look through both splits for what is wrong: exit code 0 if nothing is, warnings aside, else 1."""
    from lkca_search.data.check import check_dataset

    with download_bars(quiet=json) as progress:
        found = check_dataset(dataset, cache=_cache(), data_dir=data_dir(), image_size=image_size, progress=progress)
    echo_json(found) if json else _show_check(found)
    if found.problems:
        raise typer.Exit(1)


def data_dir() -> Path | None:
    """The folder of datasets by name: LKCA_DATA_DIR, as an absolute path."""
    folder = os.environ.get("LKCA_DATA_DIR")
    return Path(folder).absolute() if folder else None


@contextmanager
def download_bars(*, quiet: bool) -> "Iterator[DownloadProgress]":
    """What a download is told of, shown on standard error as a bar a file; nothing if `quiet`."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    progress = Progress(*columns, console=Console(stderr=True), disable=quiet)
    bars: dict[str, TaskID] = {}

    def show(file: str, received: int, total: int | None) -> None:
        if file not in bars:
            progress.start()  # only now, since without a bar it would leave an empty line
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
    rows = [
        (
            split.split,
            f"{split.num_images:,}",
            str(len(split.class_names)),
            _range(min(split.class_counts), max(split.class_counts)),
            "x".join(str(length) for length in split.shape),
            " ".join(f"{value:.4f}" for value in split.mean),
            " ".join(f"{value:.4f}" for value in split.std),
            str(split.num_converted),
            split.content_hash[:16],
        )
        for split in splits
    ]
    echo_rows(("split", "images", "classes", "a class", "shape", "mean", "std", "gray to RGB", "sha256"), rows)


def _show_check(found: "Check") -> None:
    _show_splits(found.splits)
    for warning in found.warnings:
        typer.echo(f"warning: {warning}")
    for duplicate in found.duplicates[:_DUPLICATES_SHOWN]:
        image, first = (
            f"{position.split} row {position.row} ({position.class_name})"
            for position in (duplicate.image, duplicate.first)
        )
        typer.echo(f"warning: {image} has the pixels of {first}")
    if (more := len(found.duplicates) - _DUPLICATES_SHOWN) > 0:
        typer.echo(f"warning: {more} more duplicates; --json names all")
    for problem in found.problems:
        typer.echo(f"wrong: {problem}", err=True)
    if not found.problems:
        typer.echo(f"{found.dataset} is fine")


def _range(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _number(count: int | None) -> str:
    return "" if count is None else f"{count:,}"
