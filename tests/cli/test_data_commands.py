"""Tests of `lkca-search data`: output, exit codes, parallel preparation and killed processes."""

import json
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lkca_search.data.catalog import CATALOG
from lkca_search.layout import Home
from tests.support.official_files import WRITERS, serving
from tests.support.processes import Command, parsed
from tests.support.search.two_datasets import SPACE, write_photos

NUM_TRAIN, NUM_TEST = 3_000, 50


@pytest.fixture(autouse=True)
def _no_data_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LKCA_DATA_DIR", raising=False)
    monkeypatch.setenv("no_proxy", "*")


def png(seed: int, mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, format="PNG", compress_level=1)
    return file.getvalue()


def rows(images: list[bytes]) -> dict[str, Any]:
    labels = [i % 2 for i in range(len(images))]
    return {"image": images, "label": labels, "label_name": ["bee" if label else "ant" for label in labels]}


def write(folder: Path, train: list[bytes], test: list[bytes]) -> Path:
    folder.mkdir(parents=True)
    pq.write_table(pa.table(rows(train)), folder / "train.parquet")
    pq.write_table(pa.table(rows(test)), folder / "test.parquet")
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a dataset large enough to be killed while it is decoded."""
    folder = tmp_path_factory.mktemp("data") / "large"
    return write(folder, [png(i) for i in range(NUM_TRAIN)], [png(NUM_TRAIN + i) for i in range(NUM_TEST)])


def start(*arguments: str) -> subprocess.Popen[str]:
    code = "from lkca_search.cli.app import main; main()"
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=-1, stderr=-1, text=True)


def test_list_shows_the_catalog_and_the_local_files(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = parsed(command("data", "list", "--json"))
    assert [dataset["name"] for dataset in listed] == list(CATALOG)
    assert [dataset["found"] for dataset in listed] == ["bundled", *[""] * 7]
    images = [png(i) for i in range(4)]
    for name in ("mine", "cifar10"):
        write(tmp_path / name, images[:2], images[2:])
    (tmp_path / "mine" / "test.parquet").unlink()
    (tmp_path / "svhn").mkdir()
    (tmp_path / "svhn" / "test_32x32.mat").touch()
    monkeypatch.setenv("LKCA_DATA_DIR", str(tmp_path))
    for name in ("cifar10", "digits"):
        assert command("data", "prepare", name).code == 0
    listed = {dataset["name"]: dataset for dataset in parsed(command("data", "list", "--json"))}
    assert {name: listed[name]["found"] for name in ("cifar10", "mine", "svhn", "cifar100")} == {
        "cifar10": "Parquet",
        "mine": "Parquet",
        "svhn": "test_32x32.mat",
        "cifar100": "",
    }
    assert listed["cifar10"]["prepared"] == {"train": 2, "test": 2}
    assert (listed["mine"]["prepared"], listed["mine"]["num_classes"]) == ({}, None)
    code, out, err = command("data", "list")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line.split() for line in out.splitlines()}
    assert lines["digits"][1:10] == ["10", "1,438", "359", "8", "bundled", "train", "1,438,", "test", "359"]
    assert lines["mine"] == ["mine", "Parquet"]


def test_prepare_prints_the_decoded_splits(command: Command) -> None:
    train, test = parsed(command("data", "prepare", "digits", "--json"))
    assert (train["split"], train["num_images"], train["shape"]) == ("train", 1438, [8, 8, 1])
    assert (test["split"], test["num_images"]) == ("test", 359)
    code, out, _ = command("data", "prepare", "digits", "--image-size", "16")
    assert code == 0
    lines = [line.split() for line in out.splitlines()[1:]]
    assert [line[:3] for line in lines] == [["train", "1,438", "10"], ["test", "359", "10"]]
    assert all("16x16x1" in line for line in lines)


def test_prepare_decodes_every_dataset_of_a_space_file(command: Command, tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    space = tmp_path / "two.yaml"
    space.write_text(SPACE.replace("folder:photos", f"folder:{tmp_path}/photos"))
    splits = parsed(command("data", "prepare", str(space), "--json"))
    assert [(split["split"], split["shape"]) for split in splits] == [
        *((split, [8, 8, 1]) for split in ("train", "test")),
        *((split, [12, 12, 3]) for split in ("train", "test")),
    ]
    out = command("data", "prepare", str(space), "--image-size", "16").out
    assert "digits train" in out
    assert "16x16x3" in out


def test_prepare_downloads_official_files_and_shows_progress_on_standard_error(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "files").mkdir()
    with serving(tmp_path / "files") as (address, _):
        WRITERS["svhn"](tmp_path / "files", lambda file: address + file, monkeypatch)
        code, out, err = command("data", "prepare", "svhn")
    assert code == 0
    assert "train_32x32.mat" not in out
    for file in ("train_32x32.mat", "test_32x32.mat"):
        assert file in err
    listed = {dataset["name"]: dataset for dataset in parsed(command("data", "list", "--json"))}
    assert listed["svhn"]["found"] == "test_32x32.mat, train_32x32.mat"
    assert listed["svhn"]["prepared"] == {"train": 30, "test": 20}


def test_a_failed_download_ends_with_code_2_and_names_address_and_folder(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "files").mkdir()
    WRITERS["cifar100"](tmp_path / "files", lambda file: f"http://127.0.0.1:9/{file}", monkeypatch)
    code, out, err = command("data", "prepare", "cifar100")
    assert (code, out) == (2, "")
    assert "http://127.0.0.1:9/cifar-100-python.tar.gz: " in err
    assert f"put it into LKCA_DATA_DIR/cifar100 or {Home.from_environment().datasets}/downloads/cifar100" in err


def test_duplicates_are_warnings_of_check(command: Command, tmp_path: Path) -> None:
    images = [png(i) for i in range(60)]
    folder = write(tmp_path / "mine", images[:40] * 2, [*images[40:], images[3]])
    code, out, err = command("data", "check", f"parquet:{folder}")
    assert (code, err) == (0, "")
    assert "warning: train row 40 (ant) has the same pixels as train row 0 (ant)" in out
    assert out.count("has the same pixels as") == 20
    assert out.endswith(f"warning: 21 more duplicates; use --json to list all\nparquet:{folder}: no errors\n")
    duplicates = parsed(command("data", "check", f"parquet:{folder}", "--json"))["duplicates"]
    assert len(duplicates) == 41
    assert duplicates[-1] == {
        "image": {"split": "test", "row": 20, "class_name": "ant", "file": None},
        "first": {"split": "train", "row": 3, "class_name": "bee", "file": None},
    }


def test_check_ends_with_code_1_if_there_is_an_error(command: Command, tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", [png(i) for i in range(4)], [png(4), b"no image"])
    code, out, err = command("data", "check", f"parquet:{folder}")
    assert code == 1
    assert "no errors" not in out
    assert "error: test: image cannot be decoded: " in err
    assert err.endswith("test.parquet, row 1)\n")
    code, out, err = command("data", "check", f"parquet:{folder}", "--json")
    assert (code, err) == (1, "")
    assert len(json.loads(out)["problems"]) == 1


def test_check_does_not_say_that_all_is_well_if_no_search_can_use_a_class(command: Command, tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", [png(0), png(1), png(2)], [png(3), png(4)])
    code, out, err = command("data", "check", f"parquet:{folder}")
    assert (code, "no errors" in out) == (1, False)
    assert err.startswith("error: train: class 'bee' has 1 training image, and a search needs 2")


@pytest.mark.parametrize("subcommand", ["prepare", "check"])
@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("other", "unknown dataset 'other'"),
        ("folder:nowhere", "/nowhere, which does not exist"),
        ("parquet:nowhere", "/nowhere, which does not exist"),
    ],
)
def test_an_unknown_dataset_ends_with_code_2(command: Command, subcommand: str, dataset: str, message: str) -> None:
    code, out, err = command("data", subcommand, dataset)
    assert (code, out) == (2, "")
    assert message in err


def test_processes_that_prepare_at_the_same_time_share_one_copy(large: Path) -> None:
    processes = [start("data", "prepare", f"parquet:{large}", "--json") for _ in range(8)]
    answers = [process.communicate(timeout=60) for process in processes]
    assert [(process.returncode, err) for process, (_, err) in zip(processes, answers, strict=True)] == [(0, "")] * 8
    hashes = [[split["content_hash"] for split in json.loads(out)] for out, _ in answers]
    assert hashes == [hashes[0]] * 8
    assert len(list(Home.from_environment().datasets.glob("*.arrow"))) == 2


def test_a_killed_prepare_leaves_no_usable_copy(command: Command, large: Path) -> None:
    cache = Home.from_environment().datasets
    with start("data", "prepare", f"parquet:{large}") as process:
        deadline = time.monotonic() + 30
        while not list(cache.glob("*.lock")) and time.monotonic() < deadline:
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -9
    assert not list(cache.glob("*.arrow"))
    result = parsed(command("data", "check", f"parquet:{large}", "--json"))
    assert (result["problems"], [split["num_images"] for split in result["splits"]]) == ([], [NUM_TRAIN, NUM_TEST])
    assert not list(cache.glob("*.partial"))
