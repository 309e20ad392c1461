"""One damaged file of a search: no command fails for it, every reader names it, and `repair` sets it aside."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lkca_search.cli.terminal.progress import progress
from lkca_search.data.store import Images
from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.records import predictions
from lkca_search.records.inspection.inspection_file import save_inspection
from lkca_search.records.predictions import save_predictions
from lkca_search.records.record import Record, RecordReader, TestResult, read_records
from lkca_search.records.search.dataset import SearchDataset, write_search_datasets
from lkca_search.records.search.looks import register_looks
from lkca_search.records.stored_spec import read_spec
from lkca_search.search.driver.rounds import open_round
from lkca_search.search.health.checks import scan_search
from lkca_search.search.state.manifests import split_seed, write_manifests
from lkca_search.seeds import derive_seed
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import ConfirmSection
from lkca_search.tracking.tracker import Tracker
from tests.support.inspections import make_inspection
from tests.support.models import write_model
from tests.support.processes import Command
from tests.support.records import CELL, make_predictions, make_record, make_search

CELLS = [f"family={family},data_fraction={part}" for family in ("lkca", "vit") for part in (0.1, 1.0)]
ATTEMPT = "attempt-0001-0001"
FILES = {
    "record": f"searches/made/trials/{CELL}/1/{ATTEMPT}/record.json",
    "replicate": f"searches/made/trials/{CELL}/0/draw=1,seed=0/{ATTEMPT}/record.json",
    "predictions": f"searches/made/trials/{CELL}/0/draw=1,seed=0/{ATTEMPT}/predictions.parquet",
    "inspection": f"searches/made/trials/{CELL}/0/draw=1,seed=0/{ATTEMPT}/inspection.parquet",
    "weights": f"searches/made/trials/{CELL}/0/draw=1,seed=0/{ATTEMPT}/model.safetensors",
    "model": f"searches/made/trials/{CELL}/0/draw=1,seed=0/{ATTEMPT}/model.json",
    "manifest": "searches/made/subsets/*.json",
    "round": "searches/made/rounds/0001.json",
    "spec": "searches/made/spec.json",
    "dataset": "searches/made/dataset.json",
    "uid": "searches/made/uid",
    "ledger": "searches/made/ledger.db",
    "look": "test_looks/*/*.json",
    "space file": "searches/made/space.yaml",
    "marker": f"searches/made/exhausted/{CELLS[3]}",
    "table": "searches/made/trials.parquet",
}
WITHOUT_CONTENT = ("marker", "table", "space file")
"""Files whose content no command reads. Only a folder in their place is damage."""
BESIDE = ("predictions", "inspection", "weights", "model")
"""Files beside a record, which only `doctor`, `repair` and the commands that need them read."""


def _half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _flip(path: Path) -> None:
    """Replace the content by bytes that are no text, with the same length."""
    path.write_bytes(bytes(255 - byte for byte in path.read_bytes()) or b"\xff")


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: path.write_bytes(b"") and None,
    "half": _half,
    "garbage": _flip,
    "folder": _replace_by_folder,
}


def with_seeds(record: Record, spec: SearchSpec) -> Record:
    """Return the record with the seeds that the search gives to the trial."""
    seeds = {"seed": derive_seed(spec.search.seed, "trial", record.number), "split_seed": split_seed(spec)}
    return record.model_copy(update={"spec": record.spec.model_copy(update=seeds)})


def dump(record: Record) -> bytes:
    return record.model_dump_json().encode()


def make_images() -> Images:
    pixels, labels = np.zeros((200, 8, 8, 1), np.uint8), np.arange(200) % 4
    return Images(name="digits", pixels=pixels, labels=labels, class_names=tuple("abcd"), content_hash="d" * 64)


def make_home() -> Path:
    """Make a home with a confirmed search `made`, which has every kind of file, and an intact search `other`."""
    folder, own = make_search("made"), Home.from_environment()
    make_search("other", [make_record(0), make_record(1)])
    spec = read_spec(folder)
    made_up = (make_record(n, family=f, data_fraction=d) for f in ("lkca", "vit") for d in (0.1, 1.0) for n in range(2))
    records = [with_seeds(record, spec) for record in made_up]
    for record in records:
        write_atomically(own.root / FILES["record"].replace(f"{CELL}/1", record.trial_id), dump(record))
    write_manifests(spec, {None: make_images()}, folder)
    write_search_datasets(folder, {None: SearchDataset(dataset="digits", data_hash="d" * 64, num_images=100)})
    sealed = open_round(
        folder, spec, ConfirmSection(draws=2, seeds=1), records, test_hashes={None: "t" * 64}, num_trials_left=4
    )
    register_looks(folder, own)
    made_up_predictions = make_predictions(0)
    accuracy = float((made_up_predictions.predicted == made_up_predictions.labels).mean())
    for pick, replication in sealed.replications():
        score = TestResult(num_images=50, data_hash="t" * 64, loss=1.0, accuracy=accuracy)
        values = {"trial_id": replication.replicate_id, "replicate": replication, "test": score}
        levels = pick.configuration
        record = make_record(0, family=levels.family, data_fraction=levels.data_fraction or 0, **values)
        attempt = folder.trial(record.trial_id).attempt(driver=1, attempt=1)
        save_predictions(made_up_predictions, attempt, replicate_id=record.trial_id)
        save_inspection(make_inspection((1.0,)), attempt, replicate_id=record.trial_id)
        write_model(attempt, record)
        write_atomically(attempt / "record.json", record.model_dump_json().encode())
    write_atomically(folder.exhausted / CELLS[3], b"")
    write_atomically(folder.root / "trials.parquet", b"table")
    assert isinstance(own.root, Path)
    return own.root


@pytest.fixture(scope="module")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LKCA_SEARCH_HOME", str(tmp_path_factory.mktemp("made") / "home"))
        return make_home()


@pytest.fixture
def home(made_home: Path) -> Path:
    """Return a copy of the home, at the place of the environment."""
    own = Home.from_environment().root
    assert isinstance(own, Path)
    shutil.copytree(made_home, own)
    return own


def pairs() -> list[tuple[str, str]]:
    """Return every file with two kinds of damage, and those that a search cannot do without with all four."""
    basic = [(file, damage) for file in FILES for damage in ("half", "folder")]
    return basic + [(file, damage) for file in ("record", "round", "spec", "ledger") for damage in ("empty", "garbage")]


@pytest.fixture(params=pairs(), ids=lambda pair: "-".join(pair))
def damaged(request: pytest.FixtureRequest, home: Path) -> Path:
    file, damage = request.param
    path = next(home.glob(FILES[file]))
    DAMAGES[damage](path)
    return path


def kind_of(path: Path, home: Path) -> str:
    return next(name for name, pattern in FILES.items() if path.relative_to(home).match(pattern))


def made() -> SearchFolder:
    return Home.from_environment().search("made")


def test_the_progress_of_a_new_driver_starts_without_a_damaged_spec(home: Path) -> None:
    folder = made()
    spec = read_spec(folder)
    (home / FILES["spec"]).write_bytes(b"")
    with progress(spec, folder, RecordReader(folder), quiet=False) as tracker:
        assert isinstance(tracker, Tracker)


def test_no_command_fails_for_a_damaged_file_and_other_searches_are_unharmed(
    damaged: Path, home: Path, command: Command
) -> None:
    kind, intact_content = kind_of(damaged, home), damaged.is_file()
    code, out, _ = command("list")
    assert code == 0
    assert any(line.split()[:2] == ["other", "2/12"] for line in out.splitlines())
    (row,) = (line for line in out.splitlines() if line.startswith("made"))
    listed = {found["name"]: found for found in json.loads(command("list", "--json").out)}
    assert listed["other"]["num_damaged"] == 0
    shown = kind not in (*WITHOUT_CONTENT, *BESIDE, "look") and not (
        kind == "ledger" and intact_content and not damaged.stat().st_size
    )
    if shown and not (kind == "ledger" and intact_content and damaged.read_bytes()[:6] == b"SQLite"):
        assert listed["made"]["num_damaged"] == 1, listed["made"]
        assert listed["made"]["damaged"][0]["place"] == str(damaged)
        assert ("1 file" in row) or ("must be" in row)
    expected = 2 if kind == "spec" else 0
    code, out, err = command("status", "made")
    assert ("1 trial fewer than then: records are damaged or lost" in out) == (kind == "record")
    assert code == expected
    assert (str(damaged) in out + err) == bool(listed["made"]["num_damaged"])
    for arguments in (("best", "made"), ("export", "made", "--to", str(home / "tables"))):
        code, out, err = command(*arguments)
        assert code == (0 if "export" in arguments else expected), err
        if kind == "record" or (kind in ("replicate", "predictions", "inspection") and "export" in arguments):
            assert str(damaged) in err


def test_repair_sets_the_damaged_file_aside_and_leaves_nothing_damaged(
    damaged: Path, home: Path, command: Command
) -> None:
    kind, intact_content = kind_of(damaged, home), damaged.is_file()
    before = damaged.read_bytes() if damaged.is_file() else b""
    code, out, err = command("repair", "made", "--json")
    report = json.loads(out)
    assert (code, report["remaining"]) == (0, []), (report, err)
    kept = [Path(path) for path in report["kept"]]
    kept += home.glob("test_looks/*/*.damaged-1")
    if kind in WITHOUT_CONTENT and intact_content:
        assert kept == []
    elif not (kind == "ledger" and intact_content and not before):
        renamed = damaged.with_name(f"{damaged.name}.damaged-1")
        assert renamed in kept
        assert renamed.is_dir() or renamed.read_bytes() == before
        assert report["actions"]
    code, out, err = command("repair", "made", "--json")
    assert (code, json.loads(out)["actions"]) == (0, []), "a second repair has nothing to do"
    folder = made()
    if kind == "record":
        assert {record.trial_id for record in read_records(folder)} == {
            f"{cell}/{number}" for cell in CELLS for number in range(2)
        } - {f"{CELL}/1"}
    assert command("status", "made").code == 0
    if kind not in (*BESIDE, "replicate", "record") and kept and kind != "look":
        assert json.loads(command("status", "made", "--json").out)["num_set_aside"] == len(kept)


@pytest.mark.parametrize("change", ["unknown cell", "another trial"])
def test_a_record_that_does_not_belong_to_its_folder_is_damage(home: Path, command: Command, change: str) -> None:
    path = home / FILES["record"]
    record = Record.model_validate_json(path.read_bytes())
    update = {"trial_id": f"{CELL}/0", "number": 0}
    if change == "unknown cell":
        path = home / "searches/made/trials/family=cct/0" / ATTEMPT / "record.json"
        update = {"trial_id": "family=cct/0", "cell": "family=cct", "number": 0}
    write_atomically(path, record.model_copy(update=update).model_dump_json().encode())
    (finding,) = json.loads(command("status", "made", "--json").out)["damaged"]
    assert finding["place"] == str(path)
    assert finding["damage"].startswith("must be the record of ")
    assert command("best", "made").code == 0
    assert command("repair", "made").code == 0
    assert path.with_name("record.json.damaged-1").exists()
    assert json.loads(command("status", "made", "--json").out)["num_set_aside"] == 1


def edit_record(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


EDITED: dict[str, tuple[str, Callable[[Any], object], str]] = {
    "value": ("record", lambda content: content.update(value=0.99), "the value must be that of its last result, 0.5"),
    "test": ("replicate", lambda content: content["test"].update(accuracy=0.99), "must be that of its predictions"),
}


@pytest.mark.parametrize("edit", EDITED)
def test_a_result_that_was_edited_by_hand_is_found_and_left_to_the_user(
    home: Path, command: Command, edit: str
) -> None:
    file, change, damage = EDITED[edit]
    path = home / FILES[file]
    edit_record(path, change)
    (finding,) = scan_search(made(), Home(root=home))
    assert str(finding).startswith(f"{path} is damaged: ")
    assert damage in str(finding)
    (remaining,) = json.loads(command("repair", "made", "--json").out)["remaining"]
    assert remaining["place"] == str(path)


def test_a_test_accuracy_that_was_edited_with_its_predictions_differs_from_that_of_the_model(home: Path) -> None:
    path = home / FILES["replicate"]
    edit_record(path, lambda content: content["test"].update(accuracy=0.99))
    path.with_name("predictions.parquet").unlink()
    (finding,) = scan_search(made(), Home(root=home))
    assert "the test accuracy must be that of its model" in finding.damage


HOSTILE: dict[str, Callable[[Any], object]] = {
    "id outside": lambda content: content.update(trial_id="../../../../outside/0"),
    "cell outside": lambda content: content.update(cell="../../outside"),
    "trial outside": lambda content: content["replicate"].update(of="../../outside/0"),
    "number": lambda content: content.update(number=-1),
    "not a number": lambda content: content.update(value=float("nan")),
    "unknown key": lambda content: content.update(code="__import__('os').mkdir('outside')"),
    "huge width": lambda content: content["spec"]["configuration"].update(width="9" * 400),
    "wrong type": lambda content: content.update(curve="__import__('os')"),
    "deep": lambda content: content.update(curve=json.loads("[" * 60 + "]" * 60)),
}


READ_BY_ALL = ("cell outside", "deep")
"""A record out of place, and one that cannot be parsed. All commands read records with one function."""


@pytest.mark.parametrize("edit", HOSTILE)
def test_a_hostile_record_is_left_out_and_named_and_nothing_is_written_outside(
    home: Path, command: Command, edit: str
) -> None:
    path = home / FILES["replicate"]
    edit_record(path, HOSTILE[edit])
    before = sorted(other for other in home.parent.rglob("*") if home not in other.parents)
    code, out, err = command("status", "made")
    assert (code, str(path) in out) == (0, True), err
    readers = (("best", "made"), ("export", "made"), ("report", "made", "--no-mlflow")) if edit in READ_BY_ALL else ()
    for arguments in (*readers, ("repair", "made")):
        code, out, err = command(*arguments)
        assert "Traceback" not in err
        assert code == 0, err
    assert path.with_name("record.json.damaged-1").exists()
    assert sorted(other for other in home.parent.rglob("*") if home not in other.parents) == before


@pytest.mark.parametrize("kind", ["record", "round", "predictions"])
def test_a_report_states_what_it_leaves_out(home: Path, command: Command, kind: str) -> None:
    path = home / FILES[kind]
    _half(path)
    code, out, _ = command("report", "made", "--no-mlflow", "--to", str(home / "report"))
    assert code == 0
    assert f"1 file of the search is damaged and left out of all numbers: {path}" in out


def test_a_damaged_address_of_the_ledger_is_named_with_the_option_that_replaces_it(
    home: Path, command: Command
) -> None:
    url = home / "searches/made/ledger.url"
    for content in (b"", b"\xff\xfe", b"postgresql"):
        url.write_bytes(content)
        status = json.loads(command("status", "made", "--json").out)
        assert [finding["place"] for finding in status["damaged"]] == [str(url)]
        assert command("list").code == 0
        code, _, err = command("repair", "made")
        assert code == 2
        assert "--ledger" in err or "LKCA_SEARCH_LEDGER" in err


def test_a_search_whose_spec_was_deleted_is_named_and_repaired_from_its_space_file(
    home: Path, command: Command
) -> None:
    spec = home / FILES["spec"]
    before = spec.read_bytes()
    spec.unlink()
    code, _, err = command("status", "made")
    assert code == 2
    assert f"must have a spec, got no file {spec}; `lkca-search repair made`" in err
    assert command("repair", "made").code == 0
    assert spec.read_bytes() == before
    assert command("status", "made").code == 0


def test_a_server_of_ledgers_that_does_not_respond_is_no_damage(home: Path) -> None:
    (home / "searches/made/ledger.url").write_text("postgresql://me@127.0.0.1:9/ledger")
    assert scan_search(made(), Home(root=home)) == []


def test_predictions_that_cannot_be_read_once_are_no_damage(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disconnect(path: Path) -> None:
        raise OSError(f"When reading {path}: AWS Error NETWORK_CONNECTION")  # as pyarrow, without an error number

    replicates = RecordReader(made()).replicates()
    monkeypatch.setattr(predictions, "open_input", disconnect)
    correct, findings = predictions.scan_correct(made(), replicates)
    assert (len(correct), findings) == (len(replicates), [])


def test_a_damaged_round_keeps_its_number_so_that_the_next_has_a_lower_level(home: Path, command: Command) -> None:
    _half(home / FILES["round"])
    assert "the next confirmation is round 2, at its lower level" in command("repair", "made").out
    sealed = open_round(
        made(),
        read_spec(made()),
        ConfirmSection(),
        read_records(made()),
        test_hashes={None: "t" * 64},
        num_trials_left=0,
    )
    assert sealed.number == 2
    assert sealed.alpha == pytest.approx(0.008)


def test_a_reader_reads_a_record_that_was_restored(home: Path) -> None:
    path, reader = home / FILES["record"], RecordReader(made())
    content = path.read_bytes()
    path.write_bytes(b"")
    assert len(reader.trials()) == 7
    assert [finding.damage for finding in reader.findings] == ["must be the JSON of a Record, got 0 bytes"]
    path.write_bytes(content)
    assert len(reader.trials()) == 8
    assert reader.findings == []


def test_a_file_without_permission_is_no_damage(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    reader = RecordReader(made())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(PermissionError):
            reader.trials()
