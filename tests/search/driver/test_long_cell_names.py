"""A search with so many factors that a cell's levels are too long for a folder works like any other."""

from lkca_search.layout import SearchFolder
from lkca_search.records.record import read_records
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.state.database import find_database
from lkca_search.search.studies.study import open_storage
from lkca_search.spec.cells import cells
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.run_fields import run_name
from lkca_search.tracking.tracker import Tracker, TrialStart
from tests.support.search.toy import DIGITS, make_spec, train_all

FACTORS = {
    "family": ["lkca_grouped"], "data_fraction": [0.1], "draw": [0], "patch_size": [2], "depth": [1],
    "match_parameters": [250_000], "mlp_ratio": [4.0], "kernel_size": [3], "kernel_init": ["zero", "normal"],
    "num_heads": [4], "position_embedding": [True, False], "drop_path_rate": [0.1], "learning_rate": [0.001],
    "weight_decay": [0.05], "label_smoothing": [0.1], "warmup_fraction": [0.1],
}  # fmt: skip


def make_long_spec() -> SearchSpec:
    return SearchSpec.model_validate(
        {**make_spec(trials_per_cell=2).model_dump(), "factors": FACTORS, "parameters": {}}
    )


def test_cells_with_long_names_have_folders_studies_marks_and_runs_of_their_own(folder: SearchFolder) -> None:
    spec = make_long_spec()
    keys = [cell.key for cell in cells(spec)]
    assert len({*keys}) == 4
    assert all(",more=" in key for key in keys)
    train_all(Ledger(folder, spec, DIGITS, 10, Tracker()))
    assert sorted(record.cell for record in read_records(folder)) == sorted(keys)
    assert sorted(path.name for path in folder.exhausted.glob("*")) == sorted(keys)
    assert {study.study_name for study in open_storage(find_database(folder)).get_all_studies()} == {*keys}
    assert Ledger(folder, spec, DIGITS, 10, Tracker()).num_left == 0
    names = set()
    for record in read_records(folder):
        for cell in (record.cell, f"family={'x' * 240}"):
            names.add(run_name(TrialStart(
                trial_id=record.trial_id, cell=cell, number=record.number, attempt=1, spec=record.spec, started=0.0
            )))  # fmt: skip
    assert len(names) == 5
    assert max(map(len, names)) <= 250
    assert all(name.endswith(" #0") for name in names)
