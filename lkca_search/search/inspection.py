"""Command `inspect`: inspections of replicates without one, from their kept models. Nothing is trained or tested."""

from collections.abc import Callable
from functools import partial

from lkca_search.data.store import Images
from lkca_search.errors import UserError
from lkca_search.layout import SearchFolder
from lkca_search.records.inspection.inspection_file import inspection_path, save_inspection
from lkca_search.records.model_description import model_folder
from lkca_search.records.record import Record, RecordReader
from lkca_search.spec.base import FrozenModel
from lkca_search.training.images import DataDirs
from lkca_search.training.inspection.replicate import inspect_trained
from lkca_search.training.testing import open_test_images
from lkca_search.training.trained_model import load_trained


class InspectionOutcome(FrozenModel):
    """Result of the inspection of a search."""

    name: str
    num_inspected: int
    """Replicates that were inspected now."""
    num_present: int
    """Tested replicates that had an inspection."""
    problems: tuple[str, ...]
    """Replicates that could not be inspected, each with the reason."""


def inspect_search(
    folder: SearchFolder,
    data_dirs: DataDirs,
    *,
    trust_own_code: bool = False,
    notify: Callable[[str], None] = lambda _: None,
) -> InspectionOutcome:
    """Inspect every tested replicate without an inspection, from its kept model, and write the files.

    The test images decide nothing, as after a confirmation: no record changes, and no round is added.

    Args:
        folder: Folder of the search.
        data_dirs: Folders of the datasets.
        trust_own_code: True to import the modules of families of your own, which runs their code.
        notify: Function that receives a line per replicate.
    """
    tested = [record for record in RecordReader(folder).replicates() if record.test is not None]
    due = [record for record in tested if not inspection_path(folder, record).exists()]
    opened: dict[str, Images] = {}
    problems = []
    for number, record in enumerate(due, start=1):
        try:
            _inspect(folder, record, partial(_open, record, data_dirs, opened), trust_own_code=trust_own_code)
        except UserError as error:
            problems.append(f"{record.trial_id}: {error}")
        else:
            notify(f"{number} of {len(due)}: {record.trial_id}")
    return InspectionOutcome(
        name=folder.name,
        num_inspected=len(due) - len(problems),
        num_present=len(tested) - len(due),
        problems=tuple(problems),
    )


def _inspect(folder: SearchFolder, record: Record, images: Callable[[], Images], *, trust_own_code: bool) -> None:
    """Write the inspection of one replicate; UserError if it has no model, or its images cannot be read."""
    trained = load_trained(model_folder(folder, record), trust_own_code=trust_own_code)
    inspection = inspect_trained(trained, images())
    save_inspection(inspection, inspection_path(folder, record).parent, replicate_id=record.trial_id)


def _open(record: Record, data_dirs: DataDirs, opened: dict[str, Images]) -> Images:
    """Return the images that a replicate was tested on; UserError if those of this machine are others."""
    data = record.spec.data
    key = data.model_dump_json(include={"dataset", "image_size", "max_pixels"})
    if key not in opened:
        opened[key] = open_test_images(data, data_dirs)
    assert record.test is not None
    if opened[key].content_hash != record.test.data_hash:
        hashes = f"{record.test.data_hash[:12]}, got {opened[key].content_hash[:12]}"
        raise UserError(f"the images must be those of the test, with hash {hashes}; restore the dataset")
    return opened[key]
