"""Commands that use kept models: predict, and export, which also writes the tables of a search."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lkca_search.api.home import local_data_dirs
from lkca_search.api.output import check_output_file, check_output_folder
from lkca_search.cli.data import MaxPixels, download_bars
from lkca_search.cli.terminal.arguments import (
    EXPORT_FORMATS,
    Device,
    ExportTarget,
    Images,
    Json,
    Model,
    Threads,
    TrustOwnCode,
    complete_search,
)
from lkca_search.cli.terminal.folding import echo_prose
from lkca_search.cli.terminal.output import echo_json, echo_rows, warn_of_damage
from lkca_search.cli.terminal.streams import echo
from lkca_search.errors import UserError
from lkca_search.layout import Home
from lkca_search.reporting.values.numbers import pluralize

if TYPE_CHECKING:
    from lkca_search.data.readers.image_files import ImageFiles
    from lkca_search.inference.classification import ClassifiedBatch, ImagePrediction
    from lkca_search.inference.export import ExportFormat
    from lkca_search.inference.model_place import ModelPlace
    from lkca_search.inference.parity import ExportResult
    from lkca_search.inference.stored_test import StoredTest
    from lkca_search.training.trained_model import TrainedModel

_TEST = "test"
"""Name that stands for the test images of the model's dataset."""


def predict(
    model: Model,
    images: Images,
    top: Annotated[int, typer.Option(min=1, help="Classes to show per image, the most probable first.")] = 3,
    to: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            metavar="FILE.parquet",
            help="Write the probabilities of all classes to this file too. Default: not written.",
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Dataset whose test images `test` stands for, if it has moved. Default: as in the training."),
    ] = None,
    max_pixels: MaxPixels = None,
    trust_own_code: TrustOwnCode = False,
    json: Json = False,
) -> None:
    """Classify images with a kept model, preprocessed as in its training.

    An image of another size is center-cropped to the shape of the training images, and scaled. For `test`, the exit
    code is 1 if predictions differ from the stored ones by more than rounding.
    """
    from lkca_search.data.readers.image_files import find_image_files
    from lkca_search.inference.classification import classify_files
    from lkca_search.inference.loading import load_for_use
    from lkca_search.inference.model_place import located_model
    from lkca_search.inference.prediction_file import prediction_file
    from lkca_search.inference.stored_test import PredictionList

    home = Home.from_environment()
    if to is not None:
        check_output_file(to, "--to")
    _check_test(images, dataset)
    files = None if images == [_TEST] else find_image_files(images)
    test: StoredTest | None
    with located_model(model, home) as place:
        _warn(place)
        loaded = load_for_use(place, device=device, num_threads=threads, trusts_code=trust_own_code)
        if files is None:
            test, batches = _open_test(loaded, place, home, dataset, trusts_code=trust_own_code, quiet=json)
        else:
            _warn_of_skipped(files)
            test, batches = None, classify_files(loaded, files.images(), max_pixels=max_pixels)
        names = loaded.description.class_names
        with prediction_file(to, names, model=place.name) as write:
            shown = _collect(batches, names, test, write, top=top if test is None or json else None)
    comparison = None if test is None else test.result()
    if json:
        echo_json(PredictionList(model=place.name, test=comparison, images=tuple(shown)))
    else:
        _show_predictions(shown) if comparison is None else echo_prose(f"{place.name}: {comparison.sentence}")
    _show_file(to, err=json)
    if comparison is not None and comparison.verdict == "different":
        raise typer.Exit(1)


def _open_test(
    loaded: "TrainedModel", place: "ModelPlace", home: Home, dataset: str | None, *, trusts_code: bool, quiet: bool
) -> "tuple[StoredTest, Iterator[ClassifiedBatch]]":
    """Return the stored test of a model, and its predictions of the test images."""
    from lkca_search.inference.stored_test import StoredTest, classify_test_images, read_stored
    from lkca_search.records.stored_spec import read_spec
    from lkca_search.training.testing import open_model_test_images

    if dataset is None and place.search is not None:  # a level of the factor `dataset` may stand for a path
        sources = read_spec(home.started_search(place.search)).data.sources
        dataset, trusts_code = sources.get(loaded.description.dataset), True
    with download_bars(quiet=quiet) as progress:
        images = open_model_test_images(
            loaded.description, local_data_dirs(home), dataset=dataset, trusts_code=trusts_code, progress=progress
        )
    stored = read_stored(place.folder, loaded.description)
    return StoredTest(stored, precision=loaded.description.precision), classify_test_images(loaded, images)


def _collect(
    batches: "Iterator[ClassifiedBatch]",
    names: Sequence[str],
    test: "StoredTest | None",
    write: "Callable[[ClassifiedBatch], None]",
    *,
    top: int | None,
) -> "list[ImagePrediction]":
    """Write each batch, compare it, and return its `top` classes per image; None returns no image."""
    from lkca_search.inference.classification import list_predictions
    from lkca_search.training.device import record_nondeterminism

    shown = []
    with record_nondeterminism(set()):  # a test on the same device has run the same operations
        for batch in batches:
            write(batch)
            if test is not None:
                test.add(batch)
            if top is not None:
                shown += list_predictions(batch, names, top=top)
    return shown


def _warn_of_skipped(files: "ImageFiles") -> None:
    if files.skipped:
        count = f"{pluralize(len(files.skipped), 'file')} of folders left out, as their names are those of no images"
        echo(f"{count}: {files.skipped[0]}{', ...' if len(files.skipped) > 1 else ''}", err=True)


def _check_test(images: Sequence[str], dataset: str | None) -> None:
    if _TEST in images and len(images) > 1:
        raise UserError(f"`{_TEST}` must be given alone, got {len(images)} arguments; ./{_TEST} is a file or folder")
    if dataset is not None and images != [_TEST]:
        raise UserError(f"--dataset applies to `{_TEST}` alone, got {' '.join(images)}; omit it")


def _warn(place: "ModelPlace") -> None:
    if place.search is not None:
        warn_of_damage(place.findings, place.search)


def _show_file(to: Path | None, *, err: bool) -> None:
    if to is not None:
        echo(f"probabilities of all classes: {to}", err=err)


def _show_predictions(predictions: "Sequence[ImagePrediction]") -> None:
    more = any(len(each.top) > 1 for each in predictions)
    rows = []
    for each in predictions:
        next_classes = ", ".join(f"{other.name} {other.probability:.4f}" for other in each.top[1:])
        rows.append((each.image, each.name, f"{each.probability:.4f}", *([next_classes] if more else [])))
    echo_rows(("image", "class", "probability", *(["next"] if more else [])), rows)


def export(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|MODEL",
            autocompletion=complete_search,
            help="Name of a search, or with a format, a model as in `predict`.",
        ),
    ],
    to: ExportTarget = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            dir_okay=False,
            metavar="FILE",
            help="File for the model, which must be new or of the same model. Default: a name with the search, cell, "
            "trial, draw and seed, in the working directory.",
        ),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IMAGES",
            help="Image file, folder or Parquet file whose first images check the converted model; may be repeated. "
            "Default: random images.",
        ),
    ] = None,
    trust_own_code: TrustOwnCode = False,
    json: Json = False,
) -> None:
    """Write the records of a search as Parquet tables, or convert a model to ONNX or torch.export.

    Tables: trials.parquet has one row per trial, and curves.parquet one row per evaluation. After a confirmation,
    replicates.parquet has one row per replicate, predictions.parquet one row per replicate and test image, and
    kernels.parquet one row per replicate and layer with a kernel or attention. Numbers from the predictions of the
    latest round are in class_accuracies.parquet, confusions.parquet, agreements.parquet, disputed_images.parquet,
    calibration.parquet and reliability.parquet.

    A converted model takes any number of images as uint8 pixels, and normalizes them itself. It is loaded again and
    compared with the model; if they differ by more than rounding, nothing is written and the exit code is 1.
    """
    for found in EXPORT_FORMATS:
        if to == found:
            _export_model(name, found, output, images or [], trusts_code=trust_own_code, json=json)
            return
    if given := [option for option, value in (("--output", output), ("--images", images)) if value]:
        raise UserError(f"{given[0]} applies to --to {' and '.join(EXPORT_FORMATS)} alone; omit it for tables")
    _export_tables(name, None if to is None else Path(to), json=json)


def _export_tables(name: str, to: Path | None, *, json: bool) -> None:
    from lkca_search.api.tables import write_all_tables

    folder = Home.from_environment().started_search(name)
    if to is not None:
        check_output_folder(to, "--to")
    paths, damaged = write_all_tables(folder, to or folder.root)
    warn_of_damage(damaged, name)
    if json:
        echo_json([str(path) for path in paths])
        return
    for path in paths:
        echo(path)


def _export_model(
    model: str, to: "ExportFormat", output: Path | None, images: list[str], *, trusts_code: bool, json: bool
) -> None:
    from lkca_search.data.readers.image_files import find_image_files
    from lkca_search.inference.export import check_packages, check_replaceable, default_file
    from lkca_search.inference.loading import load_for_use
    from lkca_search.inference.model_place import located_model
    from lkca_search.inference.parity import export_checked

    check_packages(to)
    files = find_image_files(images) if images else None
    with located_model(model, Home.from_environment()) as place:
        _warn(place)
        loaded = load_for_use(place, device="cpu", trusts_code=trusts_code)
    output = output or default_file(loaded.description, to)
    check_output_file(output, "--output")
    check_replaceable(output, loaded.description, "--output")
    result = export_checked(loaded, to, output, files, name=place.name)
    echo_json(result) if json else _show_export(result)
    if not result.parity.is_close:
        raise typer.Exit(1)


def _show_export(result: "ExportResult") -> None:
    parity = result.parity
    for note in result.notes:
        echo_prose(note)
    rows = [
        (str(size), f"{parity.logits[size]:.2g}", f"{parity.probabilities[size]:.2g}") for size in parity.probabilities
    ]
    echo(f"largest differences from {result.model} on {parity.images} images:")
    echo_rows(("batch size", "logits", "probabilities"), rows)
    if parity.is_close:
        echo(f"{result.file} ({result.num_bytes:,} bytes)")
    else:
        echo_prose(f"{result.file} is not written: the differences are larger than rounding", err=True)
