"""Checks of folders and files to write, before any work is done."""

from pathlib import Path

from lkca_search.errors import UserError
from lkca_search.faults import explain_fault
from lkca_search.paths import probe_folder


def check_output_folder(folder: Path, option: str) -> None:
    """Create a folder to write to; raise UserError, which names the option, if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with probe_folder(folder):
            pass
    except OSError as error:
        fault = explain_fault(error)
        if not isinstance(fault, UserError):
            raise
        raise UserError(f"{option} must be a folder that can be written, got {folder}: {fault}") from error


def check_output_file(file: Path, option: str) -> None:
    """Raise UserError, which names the option, if a file cannot be written, is no ordinary file, or has no folder."""
    if file.exists() and not file.is_file():  # it would be replaced, even if it is /dev/null
        raise UserError(f"{option} must be an ordinary file, got {file}; choose another file name")
    folder = file.absolute().parent
    if not folder.exists():  # a mistyped folder would be made without a word
        raise UserError(f"the folder of {option} must exist, got {folder}; create it, or correct the path")
    check_output_folder(folder, f"the folder of {option}")
