"""Guard against cells that train the same way under other levels of batch size, augmentation or length."""

from pathlib import Path

import numpy as np
import pytest

from lkca_search.search.studies.equal_trainings import find_equal_trainings
from lkca_search.search.studies.space_check import find_batch_problems
from lkca_search.spec.configuration import ImageShape
from lkca_search.spec.space_file import SpaceFile, read_space_file
from tests.support.space_files import SPACE

LABELS = np.repeat(np.arange(10), 180)  # 1,620 images to train on, after 10% for validation


@pytest.fixture(autouse=True)
def _space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(SPACE)


def read(*overrides: str) -> SpaceFile:
    return read_space_file(Path("space.yaml"), overrides)


SMALL = "factors.data_fraction=[0.05, 1.0]"
EQUAL = [
    (["factors.augment=[none, light, [crop]]"], "augment=light and augment=crop;"),
    (["factors.augment=[none, [crop, erase], erase + crop + cutmix, [light, erase, mixup]]"], None),
    (["factors.batch_size=[64, 128, 256]"], None),
    (["factors.batch_size=[64, 128, 256]", SMALL], "batch_size=128 and batch_size=256 on 81 images;"),
    (["factors.batch_size=[64, 128, 256]", SMALL, "exclude=[{batch_size: 256, data_fraction: 0.05}]"], None),
    (["factors.batch_size=[128, 256]", "factors.data_fraction=[1.0]"], None),
    (["~training.steps", "factors.epochs=[3, 9]"], None),
    (
        ["~training.steps", "factors.epochs=[3, 9]", "training.min_steps=40", SMALL],
        "epochs=3 and epochs=9 on 81 images;",
    ),
    (["~training.steps", "factors.epochs=[3, 9]", "training.max_steps=30"], "epochs=3 and epochs=9 on 1,620 images;"),
    (["~training.steps", "factors.samples=[1600, 1601]"], "samples=1600 and samples=1601 on 162 images;"),
    (
        ["factors.batch_size=[128, 256]", SMALL, "parameters.mlp_ratio={value: 3.0, when: {batch_size: [256]}}"],
        None,
    ),
]


@pytest.mark.parametrize(("overrides", "sides"), EQUAL, ids=lambda value: str(value)[:70])
def test_cells_that_train_the_same_way_are_refused(overrides: list[str], sides: str | None) -> None:
    problems = list(find_equal_trainings(read(*overrides).spec, LABELS))
    if sides is None:
        assert problems == []
        return
    rule = f"a factor level must change the training, got equal trainings for {sides} remove or `exclude` one of them"
    assert rule in [problem.rule for problem in problems]
    assert {problem.location for problem in problems} == {("factors", sides.partition("=")[0])}


def test_a_batch_of_one_image_is_reported_where_it_is_given_and_only_for_cells_that_have_it() -> None:
    family = "timm:mobilenetv3_small_050"
    alone = ["parameters={learning_rate: {float: [1.0e-4, 1.0e-2], log: true}}", f"factors.family=[vit, '{family}']"]
    shape = ImageShape(8, 8, 1)
    (problem,) = find_batch_problems(read(*alone, "factors.batch_size=[1, 2]").spec, shape, 10)
    assert problem.location == ("factors", "batch_size")
    one = "factors.batch_size={levels: [1, 2], when: {family: [vit]}}"
    assert list(find_batch_problems(read(*alone, one).spec, shape, 10)) == []
