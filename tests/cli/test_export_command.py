"""`export`: tables of a search as before, and a model in another format with its check printed."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lkca_search.data.store import open_images
from lkca_search.layout import Home
from tests.support.kept_search import REPLICATE, encode, make_kept_search
from tests.support.processes import Command, parsed

FILE = "made-all-0-draw-1-seed-0.pt2"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a home with the search `made`, whose replicate has a kept model."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LKCA_SEARCH_HOME", str(home))
        make_kept_search()
    return home


@pytest.fixture(autouse=True)
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of that home; the working directory is an empty folder."""
    shutil.copytree(made, tmp_path / "home")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def test_a_model_is_exported_with_its_check(command: Command) -> None:
    code, out, err = command("export", "made", "--to", "torch_export")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"largest differences from made/{REPLICATE} on random images:"
    assert [line.split()[0] for line in lines[1:6]] == ["batch", "1", "2", "7", "32"]
    assert lines[6] == f"{FILE} ({Path(FILE).stat().st_size:,} bytes)"
    assert len(lines) == 7


def test_the_same_model_is_exported_again_and_a_file_of_another_one_is_not_replaced(command: Command) -> None:
    assert command("export", "made", "--to", "torch_export").code == 0
    content = Path(FILE).read_bytes()
    assert command("export", f"made/{REPLICATE}", "--to", "torch_export", "-o", FILE).code == 0, "the same model"
    Path("other.pt2").write_bytes(content.replace(b"all/0/draw", b"all/1/draw"))  # the id of another trial
    code, out, err = command("export", "made", "--to", "torch_export", "-o", "other.pt2")
    assert (code, out) == (2, "")
    assert "--output must be a new file, got other.pt2, which is not of this model; choose another name" in err
    assert b"all/1/draw" in Path("other.pt2").read_bytes()


def test_an_onnx_model_predicts_the_stored_classes_of_given_images(command: Command) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pixels = open_images("digits", "test", cache=Home.from_environment().datasets).pixels
    for row in range(3):
        Path(f"{row}.png").write_bytes(encode(pixels[row, ..., 0]))
    result = parsed(command("export", "made", "--to", "onnx", "-o", "digits.onnx", "--images", ".", "--json"))
    assert result["file"] == "digits.onnx"
    assert result["parity"]["images"] == "3 given"
    assert max(result["parity"]["probabilities"].values()) < 1e-4
    session = onnxruntime.InferenceSession("digits.onnx", providers=["CPUExecutionProvider"])
    _, probabilities = session.run(None, {"images": pixels})
    answer = parsed(command("predict", "made", "test", "--json"))
    names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
    assert [names[each] for each in probabilities.argmax(1)] == [each["name"] for each in answer["images"]]
    assert np.abs(probabilities.sum(1) - 1).max() < 1e-5


def test_tables_are_written_to_a_folder_even_of_a_format_s_name(command: Command) -> None:
    code, out, _ = command("export", "made", "--to", "./onnx")
    assert code == 0
    assert "onnx/trials.parquet" in out.splitlines()
    assert sorted(path.name for path in Path("onnx").iterdir()) == [
        *("curves.parquet", "predictions.parquet", "replicates.parquet", "trials.parquet"),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("made --to onnx --images nowhere.png", ["nowhere.png, which does not exist"]),
        ("made --to onnx -o work.d", ["'work.d' is a directory"]),
        ("nowhere --to onnx", ["MODEL must be a search (NAME)", "searches there: made"]),
        ("made/family=vit,data_fraction=1.0 --to torch_export", ["has no kept model"]),
        ("made --to tables -o model.onnx", ["--output applies to --to onnx and torch_export alone"]),
        ("made --images a.png", ["--images applies to --to onnx and torch_export alone"]),
        (f"made/{REPLICATE} --to tables", ["the name of a search must start with"]),
    ],
)
def test_an_error_has_code_2_and_nothing_is_written(command: Command, arguments: str, words: list[str]) -> None:
    pytest.importorskip("onnx")
    Path("work.d").mkdir()
    code, out, err = command("export", *arguments.split())
    assert (code, out) == (2, "")
    for word in words:
        assert word in err
    assert [path.name for path in Path().iterdir()] == ["work.d"]
