"""A search as a value: found by name, path and URL; its tables; damage is left out; nothing is written."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from lkca_search import DamageWarning, Search, SearchError, load_search, report
from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import parse_path, write_atomically
from tests.api.conftest import VIT
from tests.support.object_store import running_object_store
from tests.support.processes import Command
from tests.support.records import CELL, make_record


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of each file and folder below a folder."""
    paths = sorted([folder, *folder.rglob("*")])
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


def read_everything(search: Search) -> None:
    for name in ("cells", "trials", "curves", "replicates", "predictions", "kernels", "rounds", "findings"):
        getattr(search, name)
    search.status()
    search.best()


@pytest.mark.parametrize("kind", ["name", "name and home", "path", "text with a slash", "file URL"])
def test_a_search_is_found_by_its_name_its_path_and_its_url(
    made: SearchFolder, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(str(made.root))
    if kind == "name and home":
        monkeypatch.delenv("LKCA_SEARCH_HOME")
        search = load_search("made", home=root.parents[1])
    else:
        search = load_search({"name": "made", "path": root, "file URL": f"file://{root}"}.get(kind, str(root)))
    assert (search.name, search.folder) == ("made", made)
    assert len(search.trials) == 3


def test_a_search_is_read_from_an_object_store(
    made: SearchFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with running_object_store(monkeypatch) as bucket:
        home = parse_path(bucket.replace("?", "/runs?"))
        for path in Path(str(made.root)).rglob("*"):
            if path.is_file():
                target = home / f"searches/made/{path.relative_to(str(made.root)).as_posix()}"
                write_atomically(target, path.read_bytes())
        local = load_search("made")
        for search in (load_search(str(home / "searches/made")), load_search("made", home=str(home))):
            assert_frame_equal(search.trials, local.trials)
            assert_frame_equal(search.predictions, local.predictions)
        with pytest.raises(SearchError, match=r"is written .*not attached in MLflow: the default MLflow store must be"):
            report(load_search("made", home=str(home)), to=tmp_path / "report", attach=True)
        assert (tmp_path / "report" / "report.html").is_file()


def test_a_copied_folder_is_a_search_wherever_it_lies(made: SearchFolder, tmp_path: Path) -> None:
    copy = tmp_path / "a copy (2)"
    shutil.copytree(str(made.root), copy)
    search = load_search(copy)
    assert search.name == "a copy (2)"
    assert search.best().trial_id == f"{CELL}/1"
    assert len(search.predictions) == 100


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("nowhere", "there is no search 'nowhere'.*searches there: made"),
        ("../made", "a search must be a name, or the path or URL of a folder with a file spec.json, got ../made"),
        (Path("made"), "a search must be a name, or the path or URL of a folder with a file spec.json, got made"),
        ("ftp://host/made", "a location must be a path"),
        ("", "the name of a search must start"),
        (".hidden", "the name of a search must start"),
        ("~nobody-here/x", "~NAME must be a user of this machine"),
    ],
)
def test_a_place_without_a_search_is_refused(made: SearchFolder, place: str | Path, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        load_search(place)
    assert type(caught.value).__name__ in ("SearchError", "UserError")


def test_the_tables_are_those_of_export(made: SearchFolder, command: Command, tmp_path: Path) -> None:
    assert command("export", "made", "--to", str(tmp_path / "tables")).code == 0
    search = load_search("made")
    for name in ("trials", "curves", "replicates"):
        assert_frame_equal(getattr(search, name), pd.read_parquet(tmp_path / "tables" / f"{name}.parquet"))
    kernels = pd.read_parquet(tmp_path / "tables" / "kernels.parquet")
    assert kernels["kind"].tolist() == ["kernel", "kernel", "receptive_field"] * 2
    assert_frame_equal(search.kernels, kernels)
    exported = pd.read_parquet(tmp_path / "tables" / "predictions.parquet")
    frame = search.predictions
    assert list(frame.columns) == ["cell", *exported.columns]
    assert frame["replicate_id"].tolist() == exported["replicate_id"].tolist()
    for name in ("image", "label", "predicted"):
        assert_frame_equal(frame[[name]], exported[[name]])
    assert np.array_equal(np.stack(frame["probabilities"]), np.stack(exported["probabilities"]))
    assert frame["cell"].unique().tolist() == [CELL]


def test_accuracies_computed_from_the_predictions_are_those_of_the_replicates(made: SearchFolder) -> None:
    frame = load_search("made").predictions
    hits = frame["predicted"].eq(frame["label"]).groupby(frame["replicate_id"]).mean()
    assert hits.index.tolist() == [f"{CELL}/0/draw=1,seed=0", f"{CELL}/0/draw=1,seed=1"]
    assert np.stack(frame["probabilities"]).argmax(1).tolist() == frame["predicted"].tolist()


def test_an_unconfirmed_search_has_empty_tables_with_all_columns(made: SearchFolder) -> None:
    shutil.rmtree(str(made.trials))
    search = load_search("made")
    assert (len(search.trials), len(search.replicates), len(search.predictions)) == (0, 0, 0)
    assert {"trial_id", "cell", "val_accuracy", "learning_rate"} <= set(search.trials.columns)
    assert {"replicate_id", "test_accuracy"} <= set(search.replicates.columns)
    assert list(search.predictions.columns) == ["cell", "replicate_id", "image", "label", "predicted", "probabilities"]


def test_cells_have_their_levels_and_best_is_that_of_the_command(made: SearchFolder, command: Command) -> None:
    search = load_search("made")
    assert list(search.cells) == [CELL, CELL.replace("0.1", "1.0"), VIT, VIT.replace("0.1", "1.0")]
    assert search.cells[VIT] == {"family": "vit", "data_fraction": 0.1}
    assert search.best().model_dump_json() == search.best(CELL).model_dump_json()
    assert f'"trial_id": "{search.best(VIT).trial_id}"' in command("best", "made", "--cell", VIT, "--json").out
    with pytest.raises(SearchError, match="has no cell 'nothing'; its cells: family=lkca"):
        search.best("nothing")
    with pytest.raises(SearchError, match="no complete trial yet in cell"):
        search.best(VIT.replace("0.1", "1.0"))


@pytest.mark.parametrize(
    ("damaged", "kind"),
    [
        (f"trials/{CELL}/1/attempt-0001-0001/record.json", "trials"),
        (f"trials/{CELL}/0/draw=1,seed=0/attempt-0001-0001/record.json", "replicates"),
        (f"trials/{CELL}/0/draw=1,seed=0/attempt-0001-0001/predictions.parquet", "predictions"),
    ],
)
def test_a_damaged_file_is_left_out_with_a_warning_when_it_is_read(made: SearchFolder, damaged: str, kind: str) -> None:
    whole = len(getattr(load_search("made"), kind))
    path = Path(str(made.root)) / damaged
    path.write_bytes(path.read_bytes()[:40])
    search = load_search("made")
    assert search.findings == []
    with pytest.warns(DamageWarning, match="left out of search 'made': .*is damaged") as warned:
        left = getattr(search, kind)
    assert [warning.filename for warning in warned] == [__file__]
    assert 0 < len(left) < whole
    assert [finding.place for finding in search.findings] == [str(path)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(getattr(search, kind)) == len(left), "read once, so warned of once"


def test_a_damaged_spec_is_an_error_of_the_load(made: SearchFolder) -> None:
    Path(str(made.spec)).write_bytes(b"{")
    with pytest.raises(SearchError, match=r"spec.json is damaged: must be the JSON of a SearchSpec.*repair"):
        load_search("made")


def test_reading_writes_nothing(made: SearchFolder) -> None:
    home = Path(str(Home.from_environment().root))
    before = files_of(home)
    read_everything(load_search("made"))
    read_everything(load_search(Path(str(made.root))))
    assert files_of(home) == before


def test_a_refresh_reads_new_records(made: SearchFolder) -> None:
    search = load_search("made")
    assert len(search.trials) == 3
    record = make_record(2, accuracy=0.9)
    path = made.trial(record.trial_id).attempt(driver=1, attempt=1) / "record.json"
    write_atomically(path, record.model_dump_json().encode())
    assert len(search.trials) == 3
    search.refresh()
    assert (len(search.trials), search.best().number) == (4, 2)
