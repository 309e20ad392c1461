"""`predict`: classes of any images by a kept model, the stored predictions again, and errors with code 2."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from lkca_search.data.readers.image_files import EncodedImage
from lkca_search.data.store import open_images
from lkca_search.inference.classification import classify_files
from lkca_search.layout import MODEL, PREDICTIONS, WEIGHTS, Home
from lkca_search.training.trained_model import load_trained
from tests.support.kept_search import REPLICATE, encode, make_kept_search, write_parquet
from tests.support.processes import Answer, Command

NAMED = f"made/{REPLICATE}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a home with the search `made`, whose replicate has a kept model."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LKCA_SEARCH_HOME", str(home))
        make_kept_search()
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of that home, which a test may damage; the working directory is an empty folder."""
    shutil.copytree(made, tmp_path / "home")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return tmp_path / "home"


@pytest.fixture
def kept(home: Path) -> Path:
    (kept,) = (path.parent for path in home.rglob(MODEL))
    return kept


@pytest.fixture
def pixels(home: Path) -> NDArray[np.uint8]:
    """Return test images of the digits, (N, 8, 8)."""
    return open_images("digits", "test", cache=Home.from_environment().datasets).pixels[..., 0]


def classes(answer: Answer) -> list[str]:
    assert answer.code == 0, answer.err
    return [each["name"] for each in json.loads(answer.out)["images"]]


# The stored predictions


def test_predictions_of_the_test_images_are_identical_to_the_stored_ones(command: Command, home: Path) -> None:
    code, out, err = command("predict", "made", "test")
    assert (code, err) == (0, "")
    assert out.startswith(f"{NAMED}: identical to the stored predictions of 359 test images; accuracy 0.")


def test_all_forms_of_a_model_give_the_same_predictions(command: Command, home: Path, kept: Path) -> None:
    cell = REPLICATE.split("/")[0]
    forms = ["made", f"made/{cell}", f"made/{cell}/0", NAMED, str(kept), str(kept / WEIGHTS), str(kept.parent)]
    for form in forms:
        code, out, err = command("predict", form, "test", "--json")
        assert code == 0, err
        answer = json.loads(out)
        assert answer["test"]["verdict"] == "identical"
        assert len(answer["images"]) == answer["test"]["num_images"] == 359
        assert answer["model"] == (NAMED if form.startswith("made") else form.removesuffix(f"/{WEIGHTS}"))


def test_other_stored_predictions_are_different_and_the_exit_code_is_1(
    command: Command, home: Path, kept: Path
) -> None:
    table = pq.read_table(kept / PREDICTIONS)
    turned = table.take(list(reversed(range(len(table))))).replace_schema_metadata(table.schema.metadata)
    pq.write_table(turned, kept / PREDICTIONS)
    code, out, _ = command("predict", "made", "test")
    assert code == 1
    assert f"{NAMED}: different from the stored predictions of 359 test images: " in out
    code, out, _ = command("predict", "made", "test", "--json")
    assert (code, json.loads(out)["test"]["verdict"]) == (1, "different")


def test_another_number_of_threads_is_within_tolerance(command: Command, home: Path) -> None:
    code, out, _ = command("predict", "made", "test", "--threads", "3", "--json")
    assert code == 0
    assert json.loads(out)["test"]["verdict"] in ("identical", "within tolerance")


# Images


def test_image_files_are_classified_as_in_the_test_whatever_their_mode_and_size(
    command: Command, home: Path, pixels: NDArray[np.uint8]
) -> None:
    gray = pixels[0]
    large = np.kron(gray, np.ones((9, 9), np.uint8))  # each pixel becomes a square: scaling down gives it back, nearly
    wide = np.pad(large, ((0, 0), (40, 40)))  # cropped to the center
    files = {
        "gray.png": encode(gray),
        "rgb.png": encode(gray, mode="RGB"),
        "palette.gif": encode(gray, mode="P", kind="GIF"),
        "opaque.png": encode(gray, mode="RGBA"),
        "sixteen.png": encode(gray.astype(np.uint16) * 257),
        "plain.ppm": encode(gray, mode="RGB", kind="PPM"),
        "large.png": encode(large),
        "wide.bmp": encode(wide, kind="BMP"),
    }
    for name, content in files.items():
        Path(name).write_bytes(content)
    turned = Image.fromarray(np.rot90(gray))  # EXIF 6: the viewer turns it by 90 degrees clockwise
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save("turned.png", exif=exif)
    answer = command("predict", "made", *files, "turned.png", "--json")
    assert len(set(classes(answer))) == 1
    images = json.loads(answer.out)["images"]
    assert [each["image"] for each in images] == [*files, "turned.png"]
    exact = [each["probability"] for each in images if each["image"] not in ("large.png", "wide.bmp")]
    assert exact == pytest.approx([exact[0]] * len(exact), abs=1e-6)


def test_a_parquet_file_and_a_folder_give_the_predictions_of_the_test(
    command: Command, home: Path, pixels: NDArray[np.uint8]
) -> None:
    stored = pq.read_table(next(home.rglob(PREDICTIONS)))["predicted"].to_pylist()[:30]
    images = [encode(each) for each in pixels[:30]]
    write_parquet(Path("more.parquet"), images, row_group_size=7)
    for number, image in enumerate(images):
        path = Path(f"photos/{number // 10}/{number:02d}.PNG")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    Path("photos/README.txt").write_text("no image")
    Path("photos/.hidden").mkdir()
    Path("photos/.hidden/a.png").write_bytes(b"no image")
    answer = command("predict", "made", "more.parquet", "photos", "--json", "--top", "1")
    assert classes(answer) == [str(each) for each in (*stored, *stored)]
    names = [each["image"] for each in json.loads(answer.out)["images"]]
    assert names[29:31] == ["more.parquet, row 29", "photos/0/00.PNG"]
    assert "1 file of folders left out, as their names are those of no images: photos/README.txt" in answer.err


def test_the_table_has_the_most_probable_classes_in_order(
    command: Command, home: Path, pixels: NDArray[np.uint8]
) -> None:
    Path("a.png").write_bytes(encode(pixels[0]))
    _, out, _ = command("predict", "made", "a.png", "--top", "3", "--json")
    (image,) = json.loads(out)["images"]
    top = [each["probability"] for each in image["top"]]
    assert len(top) == 3
    assert top == sorted(top, reverse=True)
    assert image["probability"] == top[0]
    code, out, _ = command("predict", "made", "a.png")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["image", "class", "probability", "next"]
    assert lines[1].split()[:3] == ["a.png", image["name"], f"{top[0]:.4f}"]
    _, out, _ = command("predict", "made", "a.png", "--top", "1000", "--json")
    assert len(json.loads(out)["images"][0]["top"]) == 10


def test_the_parquet_file_has_all_probabilities(command: Command, home: Path, pixels: NDArray[np.uint8]) -> None:
    write_parquet(Path("images.parquet"), [encode(each) for each in pixels[:40]])
    code, out, err = command("predict", "made", "images.parquet", "--to", "classes.parquet")
    assert (code, err) == (0, "")
    assert out.endswith("probabilities of all classes: classes.parquet\n")
    code, out, err = command("predict", "made", "images.parquet", "--to", "classes.parquet", "--json")
    assert (code, err) == (0, "probabilities of all classes: classes.parquet\n")
    assert len(json.loads(out)["images"]) == 40
    table = pq.read_table("classes.parquet")
    model = load_trained(next(home.rglob(MODEL)).parent)
    expected = model.predict_probabilities(np.ascontiguousarray(pixels[:40, ..., None]))
    np.testing.assert_allclose(np.stack(table["probabilities"].to_numpy()), expected, atol=1e-6)
    assert table["predicted"].to_pylist() == expected.argmax(1).tolist()
    assert table["image"].to_pylist()[0] == "images.parquet, row 0"
    assert json.loads(table.schema.metadata[b"class_names"]) == [str(each) for each in range(10)]


def test_images_are_read_and_classified_in_batches_of_512(kept: Path, pixels: NDArray[np.uint8]) -> None:
    content, num_read = encode(pixels[0]), 0

    def read() -> bytes:
        nonlocal num_read
        num_read += 1
        return content

    images = (EncodedImage(location=str(row), read=read) for row in range(1200))
    model = load_trained(kept)
    assert [(len(batch.images), num_read) for batch in classify_files(model, images)] == [
        (512, 512),
        (512, 1024),
        (176, 1200),
    ]


# Errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("made nowhere.png", ["an image must be a file, a folder or a Parquet file, got nowhere.png", "not exist"]),
        ("made empty", ["a folder must have at least one image", "got none in empty"]),
        (
            "made gray.png text.png",
            ["image cannot be decoded: unknown format; remove it, or save it again as PNG or JPEG (text.png)"],
        ),
        ("made text.png cut.png", ["(text.png)", "(cut.png)"]),
        ("made color.png", ["must be gray (1 channel)", "one in color (3 channels)", "(color.png)"]),
        ("made large.png --max-pixels 100", ["at most 100 pixels, got 12x12", "(large.png)"]),
        ("made null.parquet", ["column 'image' must have a value in every row, got null (null.parquet, row 1)"]),
        ("made other.parquet", ["column 'image'", "is missing, got columns x (other.parquet)"]),
        ("made none.parquet", ["there must be at least one image"]),
        ("made test gray.png", ["`test` must be given alone, got 2 arguments; ./test is a file or folder"]),
        ("made gray.png --dataset digits", ["--dataset applies to `test` alone, got gray.png"]),
        ("made test --dataset nothing", ["unknown dataset 'nothing'"]),
        ("made gray.png --device tpu", ["device must be auto, cpu, cuda or cuda:N, got tpu"]),
        ("made gray.png --device cuda:99", ["device must be a device of this machine, got cuda:99"]),
        ("made gray.png --to text.png/a.parquet", ["--to"]),
        ("nowhere gray.png", ["MODEL must be a search (NAME)", "got nowhere", "searches there: made"]),
        ("empty gray.png", ["MODEL must be a search (NAME)", "got empty, a folder without model.json"]),
        ("made/family=lkca gray.png", ["has no cell, finished trial or replicate 'family=lkca'", REPLICATE]),
        ("made/family=vit,data_fraction=0.1 gray.png", ["has no kept model"]),
        ("made/family=vit,data_fraction=0.1/0 gray.png", ["has no kept model"]),
    ],
)
def test_an_error_has_code_2_and_the_rule_and_nothing_is_written(
    command: Command, home: Path, pixels: NDArray[np.uint8], arguments: str, words: list[str]
) -> None:
    Path("empty").mkdir()
    contents: dict[str, Any] = {
        "gray.png": encode(pixels[0]),
        "text.png": b"no image",
        "cut.png": encode(pixels[0])[:-30],
        "color.png": encode(np.stack([pixels[0], pixels[1], pixels[2]], 2)),
        "large.png": encode(np.zeros((12, 12), np.uint8)),
    }
    for name, content in contents.items():
        Path(name).write_bytes(content)
    write_parquet(Path("null.parquet"), [contents["gray.png"], None])
    write_parquet(Path("none.parquet"), [])
    pq.write_table(pq.read_table("none.parquet").rename_columns(["x"]), "other.parquet")
    before = sorted(Path().rglob("*"))
    to = [] if "--to" in arguments else ["--to", "out.parquet"]
    code, out, err = command("predict", *arguments.split(), *to)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    for word in words:
        assert word in err
    assert sorted(Path().rglob("*")) == before


def test_the_test_images_are_not_opened_for_the_model_of_a_trial(command: Command, home: Path, kept: Path) -> None:
    content = json.loads((kept / MODEL).read_text())
    content = {**content, "test_hash": None, "trial_id": "all/0"}
    (kept / MODEL).write_text(json.dumps(content))
    code, _, err = command("predict", str(kept), "test")
    assert code == 2
    assert "test images must be given to the model of a replicate" in err
    assert "lkca-search confirm made" in err


def test_other_test_images_are_refused(command: Command, home: Path, kept: Path) -> None:
    content = json.loads((kept / MODEL).read_text())
    (kept / MODEL).write_text(json.dumps({**content, "test_hash": "0" * 64}))
    code, _, err = command("predict", str(kept), "test")
    assert code == 2
    assert "the test images of digits must be those of the model's test" in err


def test_test_images_that_have_moved_are_named_by_the_option(command: Command, home: Path, kept: Path) -> None:
    content = json.loads((kept / MODEL).read_text())
    (kept / MODEL).write_text(json.dumps({**content, "dataset": "folder:/nowhere/photos"}))
    code, _, err = command("predict", str(kept), "test")
    assert (code, "; if it has moved, add --dataset folder:NEW_PATH" in err) == (2, True), err


@pytest.mark.parametrize("edit", ["missing", "damaged", "pickled"])
def test_stored_predictions_that_cannot_be_read_are_an_error(
    command: Command, home: Path, kept: Path, edit: str
) -> None:
    path = kept / PREDICTIONS
    if edit == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-100] if edit == "damaged" else b"\x80\x04K\x01.")
    code, out, err = command("predict", "made", "test")
    assert (code, out) == (2, "")
    assert str(path) in err


def test_the_module_of_a_family_in_a_folder_is_imported_only_if_it_is_allowed(
    command: Command, home: Path, kept: Path, pixels: NDArray[np.uint8]
) -> None:
    Path("gray.png").write_bytes(encode(pixels[0]))
    content = json.loads((kept / MODEL).read_text())
    content["configuration"] = {"family": "missinglab.models.Net"}
    (kept / MODEL).write_text(json.dumps(content))
    code, out, err = command("predict", str(kept), "gray.png")
    assert (code, out) == (2, "")
    assert "imports the module missinglab.models from your Python path" in err
    assert "--trust-own-code" in err
    for arguments in ([str(kept), "--trust-own-code"], ["made"]):  # a search of this home is trusted
        code, out, err = command("predict", *arguments, "gray.png")
        assert (code, out) == (2, "")
        assert "missinglab" in err
        assert "Traceback" not in err


def test_names_from_elsewhere_are_printed_as_text_and_steer_no_terminal(
    command: Command, home: Path, kept: Path, pixels: NDArray[np.uint8]
) -> None:
    content = json.loads((kept / MODEL).read_text())
    names = [f"\x1b]0;{number}\x07[/b]" for number in range(10)]
    (kept / MODEL).write_text(json.dumps({**content, "class_names": names}))
    files = ["[b]x[/nowhere].png", "\x1b[2J.png", "line\u202egnp.png"]
    for name in files:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(encode(pixels[0]))
    code, out, err = command("predict", "made", *files)
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    assert "\u202e" not in out
    for word in ("[b]x[/nowhere].png", r"\x1b[2J.png", r"line\u202egnp.png", r"\x07[/b]"):
        assert word in out, word
    Path("\x1b[2J.png").write_bytes(b"no image")
    code, out, err = command("predict", "made", "\x1b[2J.png")
    assert (code, out, "\x1b" in err) == (2, "", False)


def test_no_function_that_a_description_names_as_its_dataset_is_called(
    command: Command, home: Path, kept: Path
) -> None:
    Path("test").mkdir()
    content = json.loads((kept / MODEL).read_text())
    (kept / MODEL).write_text(json.dumps({**content, "dataset": "shutil.rmtree"}))
    code, out, err = command("predict", str(kept), "test")
    assert (code, out) == (2, "")
    assert "the model has the dataset shutil.rmtree, which is code of its own" in err
    assert Path("test").is_dir()
    assert command("predict", str(kept), "test", "--dataset", "digits").code == 0
