"""Search as a value: tables as pandas data frames, best trials and kept models, each read when it is first used."""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lkca_search.api.home import find_folder
from lkca_search.errors import DamageWarning, SearchError
from lkca_search.faults import explained_faults
from lkca_search.layout import SearchFolder
from lkca_search.records.finding import Finding
from lkca_search.records.record import Record, RecordReader
from lkca_search.records.rounds import Round, scan_rounds
from lkca_search.records.stored_spec import read_spec
from lkca_search.spec.cells import cells
from lkca_search.spec.configuration import Scalar
from lkca_search.spec.search_spec import SearchSpec

if TYPE_CHECKING:
    import pandas as pd

    from lkca_search.search.run_context import RunOutcome
    from lkca_search.search.state.status import SearchStatus
    from lkca_search.training.trained_model import TrainedModel


_OWN_FRAMES = ("lkca_search", "functools", "contextlib")
"""Packages whose frames lie between the line that reads a property and its warning."""


class Search:
    """Results of a finished or running search. Nothing is written.

    Everything is read when it is first used, and then kept: `refresh` reads again. Tables are those of `export`, as
    `pandas.read_parquet` reads them: integers with missing values become float64. Damaged files are left out, with a
    `DamageWarning`; `findings` lists them.
    """

    def __init__(self, folder: SearchFolder, *, outcome: "RunOutcome | None" = None) -> None:
        """Set the folder; no record is read yet. Use `load_search` or `run` in place of this constructor."""
        self.folder = folder
        """Folder of the search, with the paths of all its files."""
        self.outcome = outcome
        """Outcome of `run`, with the reason of an early end; None for a search that was loaded."""
        self._reader = RecordReader(folder)
        self._found: dict[str, Sequence[Finding]] = {}

    def __repr__(self) -> str:
        """Return the name and the place."""
        return f"Search({self.name!r}, {str(self.folder.root)!r})"

    @property
    def name(self) -> str:
        """Name of the search."""
        return self.folder.name

    @cached_property
    def spec(self) -> SearchSpec:
        """Space file with its overrides, as values."""
        return read_spec(self.folder)

    @cached_property
    def cells(self) -> Mapping[str, Mapping[str, Scalar]]:
        """Levels of the factors per cell, by the key of the cell, in the order of the space file."""
        return {cell.key: cell.levels for cell in cells(self.spec)}

    @cached_property
    @explained_faults()
    def trial_records(self) -> Sequence[Record]:
        """Records of the finished trials, by cell and number: everything that is known about each, with its curve."""
        records = self._reader.trials()
        self._warn("trials", self._reader.findings)
        return tuple(records)

    @cached_property
    @explained_faults()
    def replicate_records(self) -> Sequence[Record]:
        """Records of the finished replicates of all rounds, by cell, trial, draw and seed."""
        records = self._reader.replicates()
        self._warn("replicates", self._reader.findings)
        return tuple(records)

    @cached_property
    @explained_faults()
    def rounds(self) -> Sequence[Round]:
        """Rounds of confirmation."""
        rounds, findings = scan_rounds(self.folder)
        self._warn("rounds", findings)
        return tuple(rounds)

    @cached_property
    def trials(self) -> "pd.DataFrame":
        """One row per finished trial: outcome, last result, configuration, data, model, cost and versions."""
        from lkca_search.records.tables import trials_table

        return trials_table(self.trial_records).to_pandas()

    @cached_property
    def curves(self) -> "pd.DataFrame":
        """One row per evaluation of each trial and replicate; `trial_id` names either."""
        from lkca_search.records.tables import curves_table

        return curves_table([*self.trial_records, *self.replicate_records]).to_pandas()

    @cached_property
    def replicates(self) -> "pd.DataFrame":
        """One row per finished replicate: the columns of a trial, its draw and seed number, and its test result."""
        from lkca_search.records.tables import replicates_table

        return replicates_table(self.replicate_records).to_pandas()

    @cached_property
    @explained_faults()
    def predictions(self) -> "pd.DataFrame":
        """One row per replicate and test image: cell, replicate, index of the image, true and predicted class.

        `probabilities` has the softmax of the logits, (classes,), float16. Replicates that failed, and those of early
        versions, have no rows.
        """
        from lkca_search.api.predictions import predictions_frame

        frame, findings = predictions_frame(self.folder, self.replicate_records)
        self._warn("predictions", findings)
        return frame

    @cached_property
    @explained_faults()
    def kernels(self) -> "pd.DataFrame":
        """One row per replicate and layer with a kernel or attention, and one per receptive field.

        Radii are in tokens, and in pixels for receptive fields. `energy` is (height, width) and `weights` (groups,
        height, width), row by row. Replicates that failed, and those of early versions, have no rows.
        """
        from lkca_search.records.inspection.inspection_file import scan_inspections
        from lkca_search.records.inspection.kernel_table import kernels_table

        inspections, findings = scan_inspections(self.folder, self.replicate_records)
        self._warn("kernels", findings)
        return kernels_table(inspections, self.replicate_records).to_pandas()

    @property
    def findings(self) -> list[Finding]:
        """Damaged files found so far, each with its remedy. All numbers leave them out."""
        return list(dict.fromkeys(finding for found in self._found.values() for finding in found))

    @explained_faults()
    def status(self) -> "SearchStatus":
        """Return the current progress per cell, also of a running search."""
        from lkca_search.search.state.status import read_status

        return read_status(self.folder, self._reader)

    def best(self, cell: str | None = None) -> Record:
        """Return the best trial of the search, or of one cell; of several metrics, the first one decides.

        It is not the champion, which `best --yaml` and `rerun NAME` take after a confirmation.
        A UserWarning says so if cells have unequal validation images, whose values do not rank the cells.

        Raises:
            SearchError: There is no such cell or no complete trial, or no cell is given in a search of several
                datasets, whose values cannot be compared.
        """
        return self.front(cell)[0]

    @explained_faults()
    def champion(self, cell: str | None = None) -> Record:
        """Return the champion, or that of one cell: the replicate of `predict NAME` and of MLflow's alias.

        Raises:
            SearchError: As in `best`, or no round of confirmation is complete.
        """
        from lkca_search.search.state.best_trials import find_best_records, read_champion

        find_best_records(self.folder, cell=cell, reader=self._reader)  # checks the cell
        if (found := read_champion(self.folder, self._reader, cell=cell)) is None:
            raise SearchError(f"search {self.name!r} has no champion: run `lkca-search confirm {self.name}` to its end")
        return found

    @explained_faults()
    def front(self, cell: str | None = None) -> list[Record]:
        """Return the trials that no other trial dominates, the best by the first metric first; errors as in `best`."""
        from lkca_search.search.state.best_trials import find_best_records, validation_sizes

        found = find_best_records(self.folder, cell=cell, reader=self._reader)
        self._warn("trials", self._reader.findings)
        if cell is None and (sizes := validation_sizes(self._reader.trials())) is not None:
            rule = f"cells of search {self.name!r} have {sizes[0]} to {sizes[1]} validation images"
            text = (
                f"{rule}, and their values do not rank the cells: give a cell, or take the champion of a confirmation"
            )
            warnings.warn(text, UserWarning, stacklevel=_caller_level())
        return found

    @explained_faults()
    def model(
        self,
        cell: str | None = None,
        draw: int | None = None,
        seed: int | None = None,
        *,
        number: int | None = None,
        device: str = "auto",
    ) -> "TrainedModel":
        """Load the model of a replicate; without draw and seed, the champion of the cell or search.

        Its own code, if any, is that of the search and runs. Without replicates, it is the best trial if that is kept.

        Args:
            cell: Key of the cell, as in `cells`; None for the champion of the search.
            draw: Number of the subset draw.
            seed: Number of the seed within the draw, from 0.
            number: Number of the confirmed trial, if a round has confirmed several of the cell.
            device: Device, as for `load_model`.

        Raises:
            SearchError: There is no such cell or replicate, or its model was not kept or is damaged.
        """
        from lkca_search.api.model import load_located
        from lkca_search.inference.model_place import ModelPlace
        from lkca_search.inference.replicate_choice import choose_record
        from lkca_search.records.model_description import model_folder
        from lkca_search.records.provenance import import_search_code

        wanted = {"draw": draw, "seed": seed, "number": number}
        import_search_code(self.folder)
        record = choose_record(self.folder, self._find_replicate(cell, wanted), self._reader)
        place = ModelPlace(folder=model_folder(self.folder, record), name=record.trial_id, search=self.name)
        return load_located(place, device=device, trust_own_code=True)

    def refresh(self) -> None:
        """Read everything again when it is next used. Records that were read are kept, since they never change."""
        self._found.clear()
        for name, value in type(self).__dict__.items():
            if isinstance(value, cached_property):
                self.__dict__.pop(name, None)

    def _find_replicate(self, cell: str | None, wanted: Mapping[str, int | None]) -> str | None:
        """Return the id of the first replicate with these numbers; the cell if no number is given."""
        from lkca_search.search.state.best_trials import check_cell

        check_cell(self.name, cell, tuple(self.cells))
        given = {name: value for name, value in wanted.items() if value is not None}
        if not given:
            return cell
        if cell is None:
            raise SearchError(f"cell must be given with {', '.join(given)}; the cells: {' '.join(self.cells)}")
        replicates = [record for record in self.replicate_records if record.cell == cell]
        for record in replicates:
            if given.items() <= _numbers(record).items():
                return record.trial_id
        numbers = ", ".join(f"{name} {value}" for name, value in given.items())
        finished = " ".join(record.trial_id for record in replicates) or "none"
        raise SearchError(f"cell {cell} has no finished replicate with {numbers}; finished: {finished}")

    def _warn(self, kind: str, findings: Sequence[Finding]) -> None:
        """Keep the findings of a kind, and warn of the new ones."""
        new = set(findings) - set(self.findings)
        self._found[kind] = findings
        if new:
            text = "; ".join(sorted(map(str, new)))
            warnings.warn(f"left out of search {self.name!r}: {text}", DamageWarning, stacklevel=_caller_level())


@explained_faults()
def load_search(search: str | Path, *, home: str | Path | None = None) -> Search:
    """Return a search, finished or running.

    Args:
        search: Name of a search in the home, the path of a search's folder (a `Path`, or a text with a slash), or the
            URL of one in an object store: `s3://BUCKET/PATH`, `gs://BUCKET/PATH`.
        home: Folder of searches; by default LKCA_SEARCH_HOME, else `./lkca_runs`.

    Raises:
        SearchError: There is no such search.
    """
    found = Search(find_folder(search, home=home))
    assert found.spec  # read now, so that a damaged one is an error of this call
    return found


def _numbers(record: Record) -> dict[str, int]:
    assert record.replicate is not None
    return {"draw": record.replicate.draw, "seed": record.replicate.seed, "number": record.number}


def _caller_level() -> int:
    """Return the `stacklevel`, in the function that calls this one, of the line outside the package."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _OWN_FRAMES:
        frame, level = frame.f_back, level + 1
    return level
