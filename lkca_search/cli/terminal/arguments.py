"""Arguments and options that several commands share."""

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from lkca_search.errors import find_closest


def complete_search(incomplete: str) -> list[str]:
    """Return the names of searches that begin with a text, for the completion of a shell; no error is raised.

    Searches in an object store are not completed: a listing takes seconds.
    """
    home = os.environ.get("LKCA_SEARCH_HOME") or "lkca_runs"
    if "://" in home:
        return []
    try:
        return sorted(spec.parent.name for spec in Path(home).glob(f"searches/{glob.escape(incomplete)}*/spec.json"))
    except OSError:
        return []


MACHINE = "Machine"
CLUSTER = "Ray cluster"
LIMITS = "Limits"
"""Groups of options in `--help`."""

Name = Annotated[str, typer.Argument(help="Name of the search.", autocompletion=complete_search)]
Space = Annotated[Path, typer.Argument(help="Space file (YAML).")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Changes to the space file: key.sub=value sets a value, ~key.sub removes one. Default: none."),
]
SearchName = Annotated[str | None, typer.Option(help="Name of the search. Default: file name without .yaml.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON. Default: as text.")]
Ledger = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="LKCA_SEARCH_LEDGER",
        rich_help_panel=MACHINE,
        help="Database for the Optuna studies, postgresql://USER@HOST/DB. Default: SQLite in the search's folder.",
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=MACHINE, help="Address of a Ray cluster. Default: RAY_ADDRESS, else start Ray on this machine."
    ),
]
NumCpus = Annotated[
    int | None,
    typer.Option(
        min=1,
        rich_help_panel=MACHINE,
        help="Number of CPU cores, if Ray is started on this machine. Default: all cores.",
    ),
]
JobsAddress = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS",
        metavar="URL",
        rich_help_panel=CLUSTER,
        help="URL of the Ray dashboard, for example http://HEAD:8265.",
    ),
]
Headers = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_JOB_HEADERS",
        metavar="JSON",
        rich_help_panel=CLUSTER,
        help="HTTP headers for a dashboard behind a login. The variable hides them from other users. Default: none.",
    ),
]
Verify = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        rich_help_panel=CLUSTER,
        help="Certificate authority of the dashboard's certificate (PEM), or false for no check. Default: "
        "REQUESTS_CA_BUNDLE, else those of the system.",
    ),
]
RemoteAddress = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        rich_help_panel=CLUSTER,
        help="Run this command on the Ray cluster with this dashboard, for example http://HEAD:8265. Default: this "
        "machine. RAY_API_SERVER_ADDRESS is ignored.",
    ),
]
"""Cluster of a command that runs on this machine by default. No variable sets it, so that the default is stable."""
EXPORT_FORMATS: tuple[Literal["onnx"], Literal["torch_export"]] = ("onnx", "torch_export")
"""Formats of `export` for a model."""
_MODEL_FILES: Mapping[str, str] = {".onnx": "onnx", ".pt2": "torch_export"}
"""Ending of a model's file to its format."""
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        autocompletion=complete_search,
        help="NAME of a search, for its champion; NAME/CELL for that of a cell; NAME/CELL/NUMBER/draw=D,seed=S for "
        "that replicate; a folder with model.json; or an MLflow URI such as "
        "models:/NAME@champion.",
    ),
]
Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGES",
        help="Image files of any size, folders of them, or Parquet files with a column `image`. `test` stands for the "
        "test images of the model's dataset, which must give its stored predictions again (./test is a folder).",
    ),
]
Device = Annotated[
    str,
    typer.Option(help="cpu, cuda or cuda:N. Default: the kind of device of the training, or the CPU without a GPU."),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, max=1024, help="CPU threads, which decide how sums are rounded. Default: as in the training."),
]
TrustOwnCode = Annotated[
    bool,
    typer.Option(
        "--trust-own-code",
        help="Import the Python module that a model from a folder or from MLflow names as its family. Default: refuse. "
        "A search of this home is trusted.",
    ),
]


def _check_target(target: str | None) -> str | None:
    """Return the target of `export`; refuse a file in place of a folder, and a new folder named like a format."""
    if target is None or target in EXPORT_FORMATS:
        return target
    rule = f"must be a folder, or {' or '.join(EXPORT_FORMATS)}, got {target!r}"
    path = Path(target)
    if path.is_file():
        raise typer.BadParameter(f"{rule}, which is a file.")
    if path.is_dir():
        return target
    if (found := _MODEL_FILES.get(path.suffix)) is not None:
        raise typer.BadParameter(f"{rule}; write --to {found} --output {target}")
    if path.name == target and (close := find_closest(target, EXPORT_FORMATS)) is not None:
        raise typer.BadParameter(f"{rule}; did you mean {close}? (./{target} for a folder)")
    return target


ExportTarget = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER|onnx|torch_export",
        callback=_check_target,
        help="onnx or torch_export: convert a model. Otherwise the folder for the tables; ./onnx is a folder. "
        "Default: tables, in the folder of the search.",
    ),
]
