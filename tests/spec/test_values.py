"""Floor 0: seeds, configurations, domains, records and their tables, storage, provenance."""

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import lkca_search
from lkca_search.errors import SearchError
from lkca_search.layout import Home, TrialFolder
from lkca_search.paths import write_atomically
from lkca_search.records.provenance import gather_provenance, git_commit
from lkca_search.records.record import Record, State, read_record, read_records
from lkca_search.records.tables import curves_table, trials_table, write_tables
from lkca_search.seeds import derive_seed
from lkca_search.spec.configuration import NAMES, Configuration, broken_rule
from lkca_search.spec.domains import Choice, Fixed, FloatRange, IntRange
from tests.support.records import CELL, FACTS, PROVENANCE, make_record, make_result, make_search

PARTS = st.lists(st.integers() | st.floats(allow_nan=False) | st.booleans() | st.text(), max_size=4)


# Seeds


@given(PARTS)
def test_a_seed_lies_in_the_range_that_numpy_torch_and_optuna_accept(parts: list[str | float]) -> None:
    assert 0 <= derive_seed(*parts) < 2**32
    assert derive_seed(*parts) == derive_seed(*parts)


def test_a_seed_depends_on_every_part_its_type_and_its_place() -> None:
    uses = [
        (),
        (0,),
        (1,),
        (1.0,),
        (True,),
        ("1",),
        (0, "trial"),
        ("trial", 0),
        (0, "trial", 1),
        (0, "trial", 11),
        (0, "trial1"),
        (0, "trial, 1"),
        (0, "sampler", 1),
        (1, "trial", 1),
    ]
    assert len({derive_seed(*parts) for parts in uses}) == len(uses)


def test_a_seed_is_the_same_on_every_machine() -> None:
    assert derive_seed(0, "split") == 142732367
    assert derive_seed(7, "sampler", "family=lkca,data_fraction=0.1", 3) == 3667257667
    assert derive_seed("ä", 0.1, True) == 1039691128


# Configurations

LEGAL_AND_NOT: dict[str, tuple[object, object, str]] = {
    "family": ("vit", 1, "valid string, got 1"),
    "data_fraction": (1, 0.0, "greater than 0"),
    "images_per_class": (5, 0, "greater than or equal to 1"),
    "draw": (0, -1, "greater than or equal to 0"),
    "patch_size": (1, 0, "greater than or equal to 1"),
    "depth": (1, 2.0, "valid integer"),
    "width": (1, "64", "valid integer"),
    "match_parameters": ("1.0M", "1.0 M", "valid integer"),
    "mlp_ratio": (0.5, 0, "greater than 0"),
    "kernel_size": (None, 0, "greater than or equal to 1"),
    "kernel_init": ("delta", "ones", "'zero', 'delta' or 'normal'"),
    "num_heads": (8, True, "valid integer"),
    "pooling": ("class_token", "max", "'mean' or 'class_token'"),
    "position_embedding": (False, 0, "valid boolean"),
    "drop_path_rate": (0.0, 1.0, "less than 1"),
    "learning_rate": (1e-9, math.inf, "finite number"),
    "weight_decay": (0, -0.1, "greater than or equal to 0"),
    "label_smoothing": (0.99, math.nan, "finite number"),
    "warmup_fraction": (0.0, 1, "less than 1"),
}


def test_the_table_of_legal_values_names_everything() -> None:
    assert tuple(LEGAL_AND_NOT) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_rule_names_the_name_and_the_rule_and_a_legal_value_breaks_none(name: str) -> None:
    legal, broken, words = LEGAL_AND_NOT[name]
    assert broken_rule(name, legal) is None
    rule = broken_rule(name, broken)
    assert rule is not None
    assert rule.startswith(f"{name}: ")
    assert words.partition(", got")[0] in rule


@pytest.mark.parametrize(
    ("written", "count"),
    [("1.0M", 1_000_000), ("250k", 250_000), ("1.073M", 1_073_000), ("0.5k", 500), (1234, 1234)],
)
def test_a_number_of_parameters_is_read_as_people_write_it(written: str | int, count: int) -> None:
    configuration = Configuration.model_validate({"match_parameters": written})
    assert configuration.match_parameters == count
    assert Configuration.model_validate_json(configuration.model_dump_json()) == configuration


@pytest.mark.parametrize("written", ["1.0 M", "M", "1G", "-1k", "0k", "1e6", 1.0, 0])
def test_what_is_no_number_of_parameters_is_refused(written: str | float) -> None:
    assert broken_rule("match_parameters", written) is not None


def test_a_configuration_is_frozen_complete_and_has_no_other_names() -> None:
    configuration = Configuration()
    with pytest.raises(ValidationError, match="frozen"):
        configuration.depth = 3
    with pytest.raises(ValidationError, match="extra"):
        Configuration.model_validate({"deepth": 3})
    assert hash(configuration) == hash(Configuration(data_fraction=1))
    assert all(field.description for field in Configuration.model_fields.values())


@pytest.mark.parametrize("values", [{"data_fraction": 0.5, "images_per_class": 5}, {"data_fraction": None}])
def test_a_configuration_has_a_fraction_or_images_per_class(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="either a data_fraction or images_per_class, got "):
        Configuration.model_validate(values)


def test_images_per_class_leave_no_fraction_behind_and_survive_json() -> None:
    configuration = Configuration(images_per_class=5)
    assert configuration.data_fraction is None
    for exclude_none in (False, True):
        text = configuration.model_dump_json(exclude_none=exclude_none)
        assert Configuration.model_validate_json(text) == configuration


@pytest.mark.parametrize(
    ("domain", "edges"),
    [
        (Choice(choice=(3, "a", 0.5)), (3, "a", 0.5)),
        (Fixed(value=4), (4,)),
        (FloatRange(bounds=(0.5, 2.0)), (0.5, 2.0)),
        (IntRange(bounds=(2, 5)), (2, 3, 4, 5)),
        (IntRange(bounds=(2, 7), step=2), (2, 4, 6)),
        (IntRange(bounds=(1, 64)), tuple(range(1, 65))),
        (IntRange(bounds=(1, 65)), (1, 65)),
        (IntRange(bounds=(0, 1000), step=3), (0, 999)),
        (IntRange(bounds=(1, 10**9), log=True), (1, 10**9)),
    ],
)
def test_the_edges_of_a_domain_are_all_values_of_a_short_one_and_the_ends_of_a_long_one(
    domain: Choice | Fixed | FloatRange | IntRange, edges: tuple[object, ...]
) -> None:
    assert domain.edges() == edges


# Records and their tables

RECORDS = [
    make_record(0),
    make_record(1, family="vit", accuracy=0.75),
    make_record(2, state=State.PRUNED, curve=(make_result(10, 0.25),), value=0.25),
    make_record(3, state=State.FAIL),
]


def test_a_record_survives_json() -> None:
    for record in RECORDS:
        assert Record.model_validate_json(record.model_dump_json()) == record


def test_the_trials_table_has_a_row_a_trial_and_a_column_a_number() -> None:
    table = trials_table(RECORDS)
    assert table.num_rows == len(RECORDS)
    assert len(set(table.column_names)) == table.num_columns
    first = table.to_pylist()[0]
    record = RECORDS[0]
    last = record.curve[-1]
    assert first == {
        **{name: getattr(record, name) for name in ("trial_id", "search", "cell", "number", "attempt", "driver")},
        **{name: getattr(record, name) for name in ("metric", "value", "error", "started", "finished")},
        "state": "COMPLETE",
        "dataset": "digits",
        "seed": 2**32 - 1,
        "split_seed": 7,
        **record.spec.configuration.model_dump(),
        **last.model_dump(exclude={"learning_rate", "time"}),
        **FACTS.model_dump(exclude={"provenance"}),
        **PROVENANCE.model_dump(),
    }
    assert first["learning_rate"] == record.spec.configuration.learning_rate != last.learning_rate


def test_what_is_not_known_is_null_in_the_trials_table() -> None:
    lkca, vit, pruned, failed = trials_table(RECORDS).to_pylist()
    assert (lkca["kernel_size"], vit["kernel_size"]) == (3, None)
    assert lkca["pooling"] is vit["pooling"] is None
    assert (pruned["state"], pruned["step"], pruned["val_accuracy"]) == ("PRUNED", 10, 0.25)
    unknown = ["value", "step", "val_accuracy", "model", "flops", "subset_hash", "git_commit", "device", "num_threads"]
    assert all(failed[name] is None for name in unknown)
    assert failed["error"] == "Traceback [red]\nRuntimeError: broken"


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("trial_id", pa.string()),
        ("number", pa.int64()),
        ("state", pa.string()),
        ("value", pa.float64()),
        ("error", pa.string()),
        ("dataset", pa.string()),
        ("seed", pa.int64()),
        ("data_fraction", pa.float64()),
        ("draw", pa.int64()),
        ("kernel_size", pa.int64()),
        ("pooling", pa.string()),
        ("learning_rate", pa.float64()),
        ("val_accuracy", pa.float64()),
        ("match_parameters", pa.int64()),
        ("kernel_init", pa.string()),
        ("position_embedding", pa.bool_()),
        ("model", pa.string()),
        ("num_parameters", pa.int64()),
        ("flops", pa.int64()),
        ("activation_bytes", pa.int64()),
        ("num_threads", pa.int64()),
    ],
)
def test_a_column_has_its_type_whatever_the_rows_hold(column: str, kind: pa.DataType) -> None:
    for records in ([], RECORDS[3:], RECORDS):
        assert trials_table(records).schema.field(column).type == kind


def test_the_curves_table_has_a_row_a_trial_and_result() -> None:
    table = curves_table(RECORDS)
    assert len(set(table.column_names)) == table.num_columns
    assert table.to_pylist() == [
        {
            **{name: getattr(record, name) for name in ("trial_id", "search", "cell", "number")},
            **result.model_dump(),
        }
        for record in RECORDS
        for result in record.curve
    ]
    assert curves_table([]).schema == table.schema


def test_the_tables_survive_parquet_and_leave_nothing_else_behind(tmp_path: Path) -> None:
    assert write_tables(RECORDS[:1], (), tmp_path / "new") == write_tables(RECORDS, (), tmp_path / "new")
    trials, curves = write_tables(RECORDS, (), tmp_path / "new")
    assert pq.read_table(trials).equals(trials_table(RECORDS))
    assert pq.read_table(curves).equals(curves_table(RECORDS))
    assert sorted(path.name for path in trials.parent.iterdir()) == ["curves.parquet", "trials.parquet"]


def test_records_are_read_by_cell_and_number_and_unfinished_trials_are_not() -> None:
    records = [make_record(number) for number in (10, 9, 0)] + [make_record(2, family="vit")]
    folder = make_search("made", records)
    folder.trial(f"{CELL}/11").attempt(driver=1, attempt=1).mkdir(parents=True)
    assert [(record.cell, record.number) for record in read_records(folder)] == [
        (CELL, 0),
        (CELL, 9),
        (CELL, 10),
        ("family=vit,data_fraction=0.1", 2),
    ]
    assert read_record(folder, f"{CELL}/9") == records[1]
    assert read_record(folder, f"{CELL}/11") is None
    assert read_record(folder, "nowhere/0") is None


# Storage


def test_a_file_is_written_whole_with_its_folders_and_as_readable_as_others(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    before = os.umask(0o027)
    try:
        write_atomically(path, b"one")
        write_atomically(path, b"two")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_leaves_the_old_file_whole_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = (
        "import resource, signal, sys; from pathlib import Path; from lkca_search.paths import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_atomically(Path(sys.argv[1]), bytes(10_000))\n"
        "except OSError: print('full')"
    )
    assert _python(code, str(path)) == "full"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_moved_into_place_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_atomically(tmp_path / "folder", b"new")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_a_reader_sees_one_writers_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, bytes(100_000))
    with ThreadPoolExecutor(4) as pool:
        writes = [pool.submit(write_atomically, path, bytes([i]) * 100_000) for i in range(40)]
        while not all(write.done() for write in writes):
            content = path.read_bytes()
            assert len(content) == 100_000
            assert len(set(content)) == 1
        for write in writes:
            write.result()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a", "2024", "scarcity_cifar10", "a.b-c_D", "x" * 100])
def test_a_search_lies_in_the_folder_of_its_name(name: str, tmp_path: Path) -> None:
    folder = Home(root=tmp_path).search(name)
    assert folder.root == tmp_path / "searches" / name
    assert folder.name == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../a", "a/b", "/a", "a\\b", ".hidden", "-option", "a b", "a\n", "ä", "a\0", "x" * 101, "~", "a:b"],
)
def test_a_name_that_is_no_plain_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="the name of a search must start with a letter or digit") as caught:
        Home(root=tmp_path).search(name)
    assert repr(name) in str(caught.value)


def test_home_is_where_the_environment_says_and_else_beside_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for value, root in (("there", tmp_path / "there"), ("", tmp_path / "lkca_runs")):
        monkeypatch.setenv("LKCA_SEARCH_HOME", value)
        assert Home.from_environment().root == root
    monkeypatch.delenv("LKCA_SEARCH_HOME")
    assert Home.from_environment().root == tmp_path / "lkca_runs"


def test_a_search_that_was_not_started_is_not_found_and_those_that_were_are_named() -> None:
    home = Home.from_environment()
    with pytest.raises(SearchError, match=r"there is no search 'c' in .*; searches there: none"):
        home.started_search("c")
    make_search("b")
    make_search("a")
    home.search("c").root.mkdir()
    assert [folder.name for folder in home.searches()] == ["a", "b"]
    assert home.started_search("a").name == "a"
    with pytest.raises(SearchError, match=r"there is no search 'c' in .*; searches there: a, b"):
        home.started_search("c")


def test_the_last_attempt_that_finished_a_trial_left_its_record(tmp_path: Path) -> None:
    folder = TrialFolder(trial_id=f"{CELL}/3", root=tmp_path / CELL / "3")
    assert folder.record is None
    assert folder.attempts() == []
    attempts = [folder.attempt(driver=driver, attempt=attempt) for driver, attempt in ((1, 1), (1, 2), (2, 3), (10, 4))]
    for attempt in reversed(attempts):
        attempt.mkdir(parents=True)
    assert folder.attempts() == attempts
    assert folder.record is None
    for attempt in (attempts[1], attempts[3]):
        write_atomically(attempt / "record.json", b"{}")
        assert folder.record == attempt / "record.json"


# Provenance


@pytest.fixture
def commit_of_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Says which commit a copy of this package, in `tmp_path / "copy"`, is at."""
    package = tmp_path / "copy" / "lkca_search"
    for name in ("__init__.py", "records/__init__.py", "records/provenance.py", "spec/__init__.py", "spec/base.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(lkca_search.__file__).parent / name, package / name)
    monkeypatch.delenv("LKCA_GIT_COMMIT", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(package.parent)
    return lambda: _python("from lkca_search.records.provenance import git_commit; print(git_commit())")


def test_the_commit_is_that_of_the_packages_checkout_with_a_mark_where_files_differ(
    commit_of_copy: Callable[[], str], tmp_path: Path
) -> None:
    assert commit_of_copy() == "unknown"

    def git(*arguments: str) -> str:
        options = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path / "copy"), *options, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "another's")
    assert commit_of_copy() == "unknown"
    git("add", "lkca_search")
    git("commit", "--quiet", "--message", "ours")
    git("tag", "v1")
    commit = git("rev-parse", "HEAD")
    assert commit_of_copy() == commit
    with (tmp_path / "copy" / "lkca_search" / "spec" / "base.py").open("a") as file:
        file.write("# changed\n")
    assert commit_of_copy() == f"{commit}-dirty"


def test_code_that_travels_without_its_history_is_told_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LKCA_GIT_COMMIT", "1234")
    assert git_commit.__wrapped__() == "1234"
    monkeypatch.setenv("LKCA_GIT_COMMIT", "")
    assert git_commit.__wrapped__() != ""


def test_provenance_names_code_versions_and_machine() -> None:
    found = gather_provenance(device="cpu", num_threads=2)
    assert all(str(value) for _, value in found)
    assert (found.device, found.num_threads) == ("cpu", 2)
    assert (found.torch_version, found.optuna_version) == (version("torch"), version("optuna"))


def _python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
