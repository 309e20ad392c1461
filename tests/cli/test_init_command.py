"""The command `init`: every answer gives a space file that is read, and whose configurations can be trained."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from lkca_search.analysis.stats.percentage_mean import MIN_RESAMPLED
from lkca_search.analysis.stats.power import MIN_DRAWS
from lkca_search.api.new_space import NewSpace, has_few
from lkca_search.api.space_schema import space_file_schema
from lkca_search.data.catalog import CATALOG
from lkca_search.recipe import FEW_EPOCHS, MANY_EPOCHS
from lkca_search.search.studies.space_check import find_space_problems
from lkca_search.spec.configuration import FAMILY_NAMES, PRESET_NAMES, ImageShape
from lkca_search.spec.domains import Fixed
from lkca_search.spec.space_file import read_space_file
from lkca_search.training.recipe.schedule import planned_steps
from tests.support.processes import Command

SHAPES = [ImageShape(28, 28, 1), ImageShape(32, 32, 3), ImageShape(64, 64, 3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_family_and_preset_can_be_trained_as_the_file_gives_them(tmp_path: Path, shape: ImageShape) -> None:
    path = tmp_path / "new.yaml"
    path.write_text(NewSpace(dataset="cifar10", families=(*FAMILY_NAMES, *PRESET_NAMES)).text("new.yaml"))
    spec = read_space_file(path).spec
    problems = {problem.rule for problem in find_space_problems(spec, shape, 10)}
    assert {rule for rule in problems if "equal models" not in rule} == set()


@pytest.mark.parametrize(
    "families", [("lkca",), ("lkca", "vit"), ("vit", "convmixer", "resnet"), ("ResNet-20", "lkca")]
)
def test_the_digits_suit_the_families_of_the_shipped_files(tmp_path: Path, families: tuple[str, ...]) -> None:
    path = tmp_path / "new.yaml"
    path.write_text(NewSpace(families=families, num_images=1_438).text("new.yaml"))
    assert list(find_space_problems(read_space_file(path).spec, ImageShape(8, 8, 1), 10)) == []


@pytest.mark.parametrize("dataset", [*CATALOG, "folder:/my photos", "parquet:/it's #1", "module.load"])
def test_the_file_of_every_dataset_has_its_answers(tmp_path: Path, dataset: str) -> None:
    path = tmp_path / "new.yaml"
    answers = NewSpace(dataset=dataset, families=("vit", "timm:resnet18"), fractions=(0.005, 0.5), trials=3)
    path.write_text(answers.text(str(path)))
    spec = read_space_file(path).spec
    assert spec.data.dataset == dataset
    assert spec.factors["family"].levels == ("vit", "timm:resnet18")
    assert spec.factors["data_fraction"].levels == (0.005, 0.5)
    assert spec.search.trials_per_cell == 3
    assert all(line.startswith("#") or " #" in line or ":" in line for line in path.read_text().splitlines())


@pytest.mark.parametrize("num_images", [30, 499, 500, 1_438, 4_999, 5_000, 50_000, None])
def test_trainings_are_neither_short_nor_long_for_any_number_of_images(tmp_path: Path, num_images: int | None) -> None:
    path = tmp_path / "new.yaml"
    fractions = (0.5, 1.0) if has_few(num_images) else (0.1, 1.0)
    path.write_text(NewSpace(num_images=num_images, fractions=fractions).text("new.yaml"))
    spec = read_space_file(path).spec
    count = 50_000 if num_images is None else num_images
    for fraction in fractions:
        num_train = int(fraction * (1 - spec.data.validation) * count)
        num_steps = planned_steps(spec.training, num_images=num_train)
        assert FEW_EPOCHS <= num_steps / -(-num_train // spec.training.batch_size) <= MANY_EPOCHS


def test_a_file_for_a_folder_of_photos_suits_their_number_without_decoding_one(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        folder = tmp_path / "photos" / "train" / name
        folder.mkdir(parents=True)
        for number in range(20):
            (folder / f"{number}.png").write_bytes(b"not decoded")
        (folder / ".hidden").touch()
    assert command("init", "new.yaml", "--dataset", "folder:photos", "--yes").code == 0
    assert ", for 40 images" in (tmp_path / "new.yaml").read_text()
    spec = read_space_file(tmp_path / "new.yaml").spec
    assert spec.factors["data_fraction"].levels == (0.5, 1)
    assert (spec.training.min_steps, spec.training.max_steps, spec.training.batch_size) == (200, 1000, 16)
    assert spec.parameters["match_parameters"] == Fixed(value="45k")
    command("init", "other.yaml", "--dataset", "cifar10", "--yes")
    assert ", for 50,000 images" in (tmp_path / "other.yaml").read_text()


def test_the_confirmation_has_enough_draws_for_its_intervals_and_names_equal_subsets(tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    for fractions, has_all in (((0.1, 0.5), False), ((0.5, 1.0), True)):
        path.write_text(NewSpace(fractions=fractions).text("new.yaml"))
        confirm = read_space_file(path).spec.confirm
        assert confirm is not None
        assert confirm.draws is not None
        assert confirm.draws >= max(MIN_RESAMPLED, MIN_DRAWS)
        assert ("subsets of all images are equal" in path.read_text()) == has_all


def test_an_editor_gets_the_schema_beside_the_file_and_nothing_without_the_option(
    command: Command, tmp_path: Path
) -> None:
    command("init", str(tmp_path / "plain.yaml"), "--yes")
    assert "$schema" not in (tmp_path / "plain.yaml").read_text()
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".yaml", ".json")] == ["plain.yaml"]
    for name in ("new.yaml", "second.yaml"):
        assert command("init", str(tmp_path / name), "--yes", "--schema").code == 0
        first, *rest = (tmp_path / name).read_text().splitlines(keepends=True)
        found = tmp_path / first.strip().removeprefix("# yaml-language-server: $schema=")
        assert json.loads(found.read_text()) == space_file_schema()
        content = yaml.safe_load("".join(rest))
        jsonschema.validate(content, space_file_schema())
        assert read_space_file(tmp_path / name).spec == read_space_file(tmp_path / "plain.yaml").spec


def test_options_are_checked_and_an_existing_file_stays(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    for options, words in (
        (["--families", "lkca,vitt"], "unknown family 'vitt'; did you mean vit?"),
        (["--dataset", "cifar11"], "unknown dataset 'cifar11'; did you mean cifar10?"),
        (["--fractions", "10%"], "fractions must be numbers above 0 and at most 1"),
        (["--fractions", "0.1,2"], "fractions must be numbers above 0 and at most 1"),
        (["--families", "lkca,lkca"], "families must be different names separated by commas"),
        (["--trials", "100001"], "trials must be an integer from 1 to 100,000"),
    ):
        code, out, err = command("init", str(path), *options)
        assert (code, out) == (2, "")
        assert words in err
        assert not path.exists()
    code, out, _ = command("init", str(path), "--yes", "--families", "vit", "--fractions", "1,0.5", "--trials", "2")
    assert (code, out) == (0, f"{path} is written; edit it, or see its cost: lkca-search plan {path}\n")
    content = path.read_bytes()
    assert read_space_file(path).spec.factors["data_fraction"].levels == (0.5, 1)
    code, _, err = command("init", str(path))
    assert (code, path.read_bytes()) == (2, content)
    assert "FILE must be a new file" in err
    assert command("init", str(tmp_path / "none" / "deep.yaml"), "--yes").code == 2
    assert not (tmp_path / "none").exists()  # a mistyped folder is not made


def test_in_a_terminal_four_questions_are_asked_until_each_answer_is_valid(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "lkca_search", "init", "new.yaml", "--trials", "2"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "200"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdin=follower, stdout=subprocess.PIPE, stderr=follower, text=True
    ) as process:
        os.write(leader, b"digit\ndigits\nvitt\nvit\n\n")
        assert process.wait(timeout=60) == 0
    shown = os.read(leader, 10_000).decode()
    os.close(leader)
    os.close(follower)
    assert "did you mean digits?" in shown
    assert "did you mean vit?" in shown
    assert "Trials per cell" not in shown  # an option gives it
    spec = read_space_file(tmp_path / "new.yaml").spec
    assert spec.factors["family"].levels == ("vit",)
    assert spec.factors["data_fraction"].levels == (0.1, 1)


def _write_photos(*, train: dict[str, int], test: dict[str, int]) -> None:
    for split, classes in (("train", train), ("test", test)):
        for name, count in classes.items():
            folder = Path("photos") / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number}.png").write_bytes(b"not decoded")


@pytest.mark.parametrize(
    ("train", "fractions", "words"),
    [
        ({"a": 20, "b": 1}, "1", "every class must have 2 images, one to train and one to validate, got 1 of class b"),
        ({"a": 20, "b": 0}, "1", "every class must have at least one image, found none in photos/train/b"),
        ({"a": 30, "b": 30}, "0.001", "must leave an image per class, got 0.001 of the 24 images of class a"),
        ({"a": 30, "b": 30}, "0.5,0.51", "must give different numbers of training images, got 24 for 0.5 and for 0.51"),
    ],
)
def test_answers_that_no_search_could_use_write_no_file(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: dict[str, int], fractions: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _write_photos(train=train, test={"a": 2, "b": 2})
    code, out, err = command("init", "new.yaml", "--dataset", "folder:photos", "--fractions", fractions)
    assert (code, out, words in err) == (2, "", True), err
    assert not Path("new.yaml").exists()


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ({}, "the test images, which only a confirmation needs, must be in test/CLASS/FILE, found none in photos/test"),
        ({"a": 2, "c": 2}, "the same classes, got only in test: c; only in train: b"),
    ],
)
def test_a_file_whose_confirmation_lacks_test_images_is_written_with_a_warning(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, test: dict[str, int], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _write_photos(train={"a": 20, "b": 20}, test=test)
    code, _, err = command("init", "new.yaml", "--dataset", "folder:photos", "--yes")
    assert code == 0
    assert err.startswith("warning: ")
    assert words in " ".join(err.split())
    assert "remove the section confirm, which needs test images" in " ".join(err.split())
    assert Path("new.yaml").exists()
