"""A search with a confirmation needs test images of every class: stated before any training, and no image is opened."""

import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lkca_search.paths import write_atomically
from lkca_search.search.ray_backend.node_checks import node_problem
from lkca_search.spec.space_file import read_space_file
from tests.support.processes import Command

SPACE = """\
data: {dataset: DATASET, validation: 0.5}
factors: {family: [lkca, vit]}
parameters: {patch_size: {value: 4}, depth: {value: 1}, width: {value: 16}}
training: {steps: 4, batch_size: 4}
search: {trials_per_cell: 1}
confirm: {draws: 1, seeds: 1}
"""
NEEDED = "; add them, or remove the section confirm, which needs test images"


def _png(seed: int) -> bytes:
    file = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(autouse=True)
def _photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a folder whose test images cannot be decoded, so that only their names can be checked."""
    monkeypatch.chdir(tmp_path)
    for name in ("dots", "stripes"):
        for i in range(4):
            path = Path("photos", "train", name, f"{i}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_png(10 * len(name) + i))
        Path("photos", "test", name).mkdir(parents=True)
        Path("photos", "test", name, "0.png").write_bytes(b"no image")
    Path("photos.yaml").write_text(SPACE.replace("DATASET", "folder:photos"))


def _without_test() -> None:
    shutil.rmtree("photos/test")


def _without_class() -> None:
    shutil.rmtree("photos/test/stripes")


def _with_empty_class() -> None:
    Path("photos/test/stripes/0.png").unlink()


DAMAGES = [
    (_without_test, "the test images, which only a confirmation needs, must be in test/CLASS/FILE, found none in "),
    (_without_class, "the same classes, got only in test: none; only in train: stripes ("),
    (_with_empty_class, "every class must have at least one image, found none in "),
]


@pytest.mark.parametrize("subcommand", ["plan", "run"])
@pytest.mark.parametrize(("damage", "words"), DAMAGES, ids=[damage.__name__ for damage, _ in DAMAGES])
def test_a_search_with_a_confirmation_is_refused_if_a_class_has_no_test_image(
    command: Command, subcommand: str, damage: Callable[[], None], words: str
) -> None:
    damage()
    code, _, err = command(subcommand, "photos.yaml")
    text = " ".join(err.split())
    assert code == 2
    assert words in text
    assert "photos" in text
    assert text.endswith(NEEDED)
    assert not list(Path("home").glob("searches/*/trials"))


def test_a_plan_opens_no_test_image_and_needs_none_without_a_confirmation(command: Command) -> None:
    assert command("plan", "photos.yaml").code == 0
    _without_test()
    assert command("plan", "photos.yaml").code == 2
    assert command("plan", "photos.yaml", "~confirm").code == 0


def test_a_class_with_too_few_images_is_stated_by_its_name(command: Command) -> None:
    code, _, err = command("plan", "photos.yaml", "factors.images_per_class=[1, 9]")
    assert (code, "at most 2, the training images of class dots left after validation, got 9" in err) == (2, True), err


def test_the_labels_of_parquet_files_are_compared_without_their_images(command: Command) -> None:
    labels = [label for label in range(2) for _ in range(4)]
    columns = {"label": labels, "label_name": [("dots", "stripes")[label] for label in labels]}
    Path("rows").mkdir()
    pq.write_table(pa.table({"image": [_png(seed) for seed in range(8)], **columns}), "rows/train.parquet")
    Path("rows.yaml").write_text(SPACE.replace("DATASET", "parquet:rows"))
    damaged = {"image": [b"no image"] * 8, **columns}
    for test, words in [
        (None, "must have files test*.parquet, found none in"),
        (pa.table(damaged).slice(0, 4), "only in test: none; only in train: stripes"),
        (pa.table({**damaged, "label": [1 - label for label in labels]}), "'dots' in train and 'stripes' in test"),
        (pa.table(damaged).drop_columns("label_name"), "column 'label_name' (strings) is missing"),
    ]:
        if test is not None:
            pq.write_table(test, "rows/test.parquet")
        for subcommand in ("plan", "run"):
            code, _, err = command(subcommand, "rows.yaml")
            assert (code, words in " ".join(err.split())) == (2, True), err
    pq.write_table(pa.table(damaged), "rows/test.parquet")
    assert command("plan", "rows.yaml").code == 0


def test_a_node_without_the_test_images_is_refused_before_the_trials(tmp_path: Path) -> None:
    spec = read_space_file(Path("photos.yaml"), ()).spec.model_dump_json(by_alias=True)
    write_atomically(tmp_path / "marker", b"token")
    arguments = (str(tmp_path / "marker"), "token", spec, str(tmp_path / "cache"), None, {}, {})
    assert node_problem(*arguments) is None
    _without_class()
    assert "cannot open the images: train and test must have the same classes" in (node_problem(*arguments) or "")
