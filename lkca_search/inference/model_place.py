"""Place of a kept model: a folder, a replicate of a search, or an artifact of MLflow."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from lkca_search.errors import SearchError, UserError
from lkca_search.inference.replicate_choice import choose_record
from lkca_search.layout import MODEL, WEIGHTS, Home, TrialFolder
from lkca_search.paths import AnyPath, parse_path
from lkca_search.records.finding import Finding
from lkca_search.records.model_description import model_folder
from lkca_search.records.provenance import import_search_code
from lkca_search.records.record import RecordReader
from lkca_search.tracking.registry.model_artifacts import download_model, is_mlflow_uri

_FORMS = (
    "MODEL must be a search (NAME), one of its cells or replicates (NAME/CELL, NAME/CELL/NUMBER/draw=D,seed=S), a "
    f"folder with {MODEL} and {WEIGHTS}, or an MLflow URI (models:/NAME@champion, runs:/RUN_ID/PATH)"
)


@dataclass(frozen=True, kw_only=True)
class ModelPlace:
    """Folder of a kept model."""

    folder: AnyPath
    """Folder with the weights, their description and, for a replicate, its predictions."""
    name: str
    """Model as the outputs name it."""
    search: str | None = None
    """Search of the home that has it; its own code has run before."""
    findings: tuple[Finding, ...] = ()
    """Damaged records of that search, which were left out of the choice."""


@contextmanager
def located_model(text: str, home: Home) -> Iterator[ModelPlace]:
    """Yield the place of a model, which is a temporary folder for one that MLflow keeps.

    The own code of a search is found in the folders in which it was found at its start.

    Args:
        text: NAME of a search or NAME/CELL, for its champion; NAME/CELL/NUMBER or NAME/CELL/NUMBER/draw=D,seed=S; a
            folder, or a file in it; or a URI of MLflow.
        home: Home of the searches.

    Raises:
        UserError: There is no such model. The message lists what there is.
    """
    if is_mlflow_uri(text):
        with TemporaryDirectory(prefix="lkca-search-model-") as temporary:
            yield ModelPlace(folder=download_model(text, Path(temporary), home), name=text)
        return
    yield _find_on_disk(text) or _find_in_search(text, home)


def _find_on_disk(text: str) -> ModelPlace | None:
    """Return the place of a model at a path or URL; None if there is none."""
    path = parse_path(text)
    if path.name in (MODEL, WEIGHTS):
        path = path.parent
    if (path / MODEL).exists():
        return ModelPlace(folder=path, name=str(path))
    if (record := TrialFolder(root=path).record) is not None and (record.parent / MODEL).exists():
        return ModelPlace(folder=record.parent, name=str(path))
    if "://" in text:
        raise UserError(f"{_FORMS}; got {text}, in which there is no {MODEL}")
    return None


def _find_in_search(text: str, home: Home) -> ModelPlace:
    name, _, rest = text.strip("/").partition("/")
    try:
        folder = home.started_search(name)
    except SearchError as error:
        found = f"a folder without {MODEL}" if Path(text).is_dir() else "none of these"
        raise UserError(f"{_FORMS}; got {text}, {found}; {error}") from error
    import_search_code(folder)
    reader = RecordReader(folder)
    record = choose_record(folder, rest or None, reader)
    return ModelPlace(
        folder=model_folder(folder, record),
        name=f"{name}/{record.trial_id}",
        search=name,
        findings=tuple(reader.findings),
    )
