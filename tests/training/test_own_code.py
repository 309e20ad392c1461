"""Laws of own code: the examples of the page keep them, and each kind of broken code is refused before a search."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lkca_search.data.own_augmentation import OwnAugmentation
from lkca_search.data.readers.own_dataset import OwnDataset
from lkca_search.errors import DataError, SpaceFileError, UserError
from lkca_search.models.listing import describe_model
from lkca_search.models.registry import resolve
from lkca_search.own_code import code_hashes, find_modules, import_from, is_dotted, load_own
from lkca_search.search.studies.space_check import check_space, sampled_models
from lkca_search.spec.configuration import Configuration, ImageShape
from lkca_search.spec.space_file import SpaceFile, read_space_file
from lkca_search.training.images import DataDirs, open_all_train_images
from lkca_search.training.laws.own_code_check import check_own_code
from tests.support.own_code import write_broken, write_examples

DIGITS = ImageShape(8, 8, 1)
SPACE = """\
data: {dataset: digits}
factors:
  family: [FAMILY]
parameters:
  learning_rate: {value: 0.001}
training: {steps: 20, reports: 2}
search: {trials_per_cell: 1}
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with the packages `mylab` and `brokenlab`, and `space.yaml` of the page."""
    folder = tmp_path_factory.mktemp("study")
    write_examples(folder)
    write_broken(folder)
    path = list(sys.path)
    import_from(folder)
    yield folder
    sys.path[:] = path
    for name in [name for name in sys.modules if name.partition(".")[0] in ("mylab", "brokenlab")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def check(code: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[SpaceFile], list[str]]:
    """Return the checks of `plan` and `run` before a search starts."""
    data_dirs = DataDirs(cache=tmp_path_factory.mktemp("cache"), data_dir=None)

    def check(space_file: SpaceFile) -> list[str]:
        images = open_all_train_images(space_file.spec, data_dirs)
        check_space(space_file, images)
        return check_own_code(space_file, images, data_dirs, sampled_models(space_file.spec))

    return check


def space(code: Path, family: str = "lkca", *overrides: str) -> SpaceFile:
    path = code / "broken.yaml"
    path.write_text(SPACE.replace("FAMILY", family))
    return read_space_file(path, overrides)


def test_the_examples_of_the_page_keep_all_laws(code: Path, check: Callable[[SpaceFile], list[str]]) -> None:
    file = read_space_file(code / "space.yaml")
    assert {kind for kind, _ in file.spec.own_code()} == {"family", "augment", "dataset", "optimizer", "metric"}
    assert check(file) == []


def test_a_model_of_your_own_is_described_by_its_signature(code: Path) -> None:
    model = describe_model("mylab.models.MyNet", DIGITS, 10)
    assert [(name.name, name.default) for name in model.names] == [
        ("depth", 2),
        ("width", 16),
        ("match_parameters", None),
        ("mylab_ratio", 0.5),
    ]
    assert model.cost is not None
    assert model.cost.num_parameters == 16 * 9 + 16 + 2 * (8 * 16 * 9 + 8 + 16 * 8 + 16) + 10 * 16 + 10


def test_a_width_of_your_own_is_matched_to_a_number_of_parameters(code: Path) -> None:
    configuration = Configuration(family="mylab.models.MyNet", match_parameters=20_000, mylab_ratio=1)
    resolved = resolve(configuration, DIGITS, 10)
    assert resolved.width is not None
    assert resolved.own == {"mylab_ratio": 1}


@pytest.mark.parametrize(
    ("family", "rule"),
    [
        ("nolab.models.Net", "cannot be loaded: ModuleNotFoundError: No module named 'nolab'; put nolab.py next to"),
        ("brokenlab.models.God", "has no attribute 'God'; did you mean brokenlab.models.Good?"),
        ("brokenlab.syntax.Net", "cannot be loaded: SyntaxError"),
        ("brokenlab.missing.Net", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_package' ("),
        ("brokenlab.missing.Net", "); install it in this environment, and on every node of a cluster"),
        ("brokenlab.importing.Net", "importing.py:2)"),
        ("brokenlab.models.number", "must be callable, got int 3"),
        ("brokenlab.models.other_arguments", "must take image_shape and num_classes"),
        ("brokenlab.models.takes_rate", "must not take learning_rate, which the training applies"),
        ("brokenlab.models.needs_size", "needs size: give it as a factor or a parameter"),
        ("brokenlab.models.no_module", "must return a torch.nn.Module, got list"),
        ("brokenlab.models.raises", "KeyError: 'no such layer' ("),
        ("brokenlab.models.WrongShape", "must be a floating-point tensor of shape (2, 10), got (2,)"),
        ("brokenlab.models.ThirdStep", "step 3 of a short training failed: RuntimeError: no third step ("),
        ("brokenlab.models.OtherWeights", "must have the same initial weights for the same seed of torch"),
        ("brokenlab.models.NoisyEvaluation", "must be deterministic in evaluation mode"),
        ("brokenlab.models.BatchMean", "must not depend on the other images"),
        ("brokenlab.models.HiddenState", "resumed from a checkpoint after step 2 must equal the uninterrupted one"),
        ("brokenlab.models.OwnRandom", "must be a function of its weights, images and torch's seed"),
        ("brokenlab.models.NotFinite", "must have finite outputs"),
        ("brokenlab.models.Detached", "must have a loss with a gradient"),
        ("brokenlab.models.ReadsValues", "must be countable without values of tensors"),
    ],
)
def test_a_broken_model_is_refused_at_its_line_before_the_search(
    code: Path, check: Callable[[SpaceFile], list[str]], family: str, rule: str
) -> None:
    with pytest.raises(SpaceFileError) as caught:
        check(space(code, family))
    assert rule in str(caught.value)
    assert str(caught.value).endswith(f"({code}/broken.yaml:3)")
    assert family in str(caught.value)


def test_a_parameter_without_a_gradient_is_a_warning(code: Path, check: Callable[[SpaceFile], list[str]]) -> None:
    (warning,) = check(space(code, "brokenlab.models.Unused"))
    assert "the loss has no gradient for spare.weight, spare.bias" in warning


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("parameters.ratio={choice: [a, b]}", "ratio of family brokenlab.models.Good must be float, got 'a'"),
        ("parameters.rato={value: 0.5}", "rato is no name of family brokenlab.models.Good, which takes width"),
        ("parameters.width={value: 0}", "width: input should be greater than or equal to 1"),
        ("parameters.copy={value: 1}", "a name of your own must be a Python identifier"),
        ("parameters.num_heads={value: 2}", "num_heads does not apply to family brokenlab.models.Good"),
    ],
)
def test_a_wrong_name_or_value_of_an_own_family_is_refused(
    code: Path, check: Callable[[SpaceFile], list[str]], override: str, rule: str
) -> None:
    with pytest.raises(SpaceFileError, match="override") as caught:
        check(space(code, "brokenlab.models.Good", override))
    assert rule in str(caught.value)


def test_an_unknown_name_without_an_own_family_is_refused(code: Path) -> None:
    with pytest.raises(SpaceFileError, match="unknown name 'ratio'"):
        space(code, "lkca", "parameters.ratio={value: 1}")
    with pytest.raises(ValueError, match="unknown name 'ratio'"):
        Configuration(family="lkca", ratio=1)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("to_float", "must return a batch of the type, shape and device of its argument, torch.uint8"),
        ("crop", "must return a batch of the type, shape and device of its argument"),
        ("numpy_random", "must be a function of the batch and the seed alone"),
        ("Counting", "must be a function of the batch and the seed alone"),
        ("NeedsStrength", "must be built without arguments: TypeError"),
        ("two", "must take (pixels) or (pixels, generator), got two(pixels, other)"),
        ("NotCallable", "must be callable"),
        ("raises", "failed: ValueError: no pixels ("),
        ("Blurr", "has no attribute 'Blurr'"),
    ],
)
def test_a_broken_augmentation_is_refused_at_its_line_before_the_search(
    code: Path, check: Callable[[SpaceFile], list[str]], name: str, rule: str
) -> None:
    path = f"brokenlab.augment.{name}"
    with pytest.raises(SpaceFileError) as caught:
        check(space(code, "identity", f"data.augment=[crop, {path}]"))
    assert rule in str(caught.value)
    assert path in str(caught.value)
    assert "override" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("HiddenState", "must resume bit for bit from its state_dict, got other weights"),
        ("ThirdStep", "must take three steps on a small model, got RuntimeError: no third step ("),
        ("NeedsRho", "NeedsRho.__init__() got an unexpected keyword argument 'lr'"),
        ("function", "must be a subclass of torch.optim.Optimizer"),
        ("Adamw", "has no attribute 'Adamw'"),
    ],
)
def test_a_broken_optimizer_is_refused_at_its_line_before_the_search(
    code: Path, check: Callable[[SpaceFile], list[str]], name: str, rule: str
) -> None:
    path = f"brokenlab.optimizers.{name}"
    with pytest.raises(SpaceFileError) as caught:
        check(space(code, "identity", f"parameters.optimizer={{value: {path}}}"))
    assert rule in str(caught.value)
    assert path in str(caught.value)
    assert "override" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("not_a_number", "must return a finite number, got nan"),
        ("text", "must return a finite number, got 'good'"),
        ("raises", "ZeroDivisionError: no images ("),
        ("one_argument", "TypeError: one_argument() takes 1 positional argument"),
        ("f2", "has no attribute 'f2'"),
    ],
)
def test_a_broken_metric_is_refused_at_its_line_before_the_search(
    code: Path, check: Callable[[SpaceFile], list[str]], name: str, rule: str
) -> None:
    path = f"brokenlab.metrics.{name}"
    with pytest.raises(SpaceFileError) as caught:
        check(space(code, "identity", f"search.metric={path}", "search.goal=maximize"))
    assert rule in str(caught.value)
    assert path in str(caught.value)
    assert "override" in str(caught.value)


@pytest.mark.gpu
def test_an_augmentation_that_draws_on_the_gpu_is_a_function_of_its_seed(code: Path) -> None:
    text = "import torch\n\n\ndef noise(pixels):\n    return torch.randint_like(pixels, 256)\n"
    (code / "gpu_noise.py").write_text(text)
    augmentation = OwnAugmentation("gpu_noise.noise")
    pixels, state = torch.zeros(4, 3, 8, 8, dtype=torch.uint8, device="cuda"), torch.cuda.get_rng_state()
    one, two, other = (augmentation(pixels, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(torch.cuda.get_rng_state(), state), "restored"


def test_a_transform_of_torchvision_is_a_function_of_the_seed(code: Path) -> None:
    pixels = torch.randint(0, 256, (9, 3, 8, 8), dtype=torch.uint8)
    augmentation = OwnAugmentation("torchvision.transforms.v2.RandomHorizontalFlip")
    results = [augmentation(pixels, seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert torch.equal(results[0], results[1])
    assert not all(torch.equal(results[0], result) for result in results[2:])


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("gap", "labels must be 0 to the number of classes - 1, without a gap"),
        ("negative", "labels must be 0 to the number of classes - 1, without a gap, got -1 (brokenlab.data.negative"),
        ("float_labels", "labels must be integers of shape (images,), got float64"),
        ("fewer_labels", "must have the same length, got 24 images and 20 labels"),
        ("float_images", "must be uint8, 0 to 255, of shape (N, H, W) or (N, H, W, C) with C 1 or 3, got float32"),
        ("channels_first", "with C 1 or 3, got uint8 of shape (24, 3, 8, 8)"),
        (
            "two_sizes",
            "images must have the size of the first, 8x8, unless you set data.image_size, in `data` ",
        ),
        ("with_transform", "got float32 of shape (8, 8): remove transforms (brokenlab.data.with_transform, train, im"),
        ("few_names", "class_names must have a name per label, up to 2, got 2 names"),
        ("empty", "a split must have at least one image"),
        ("nothing", "must return images and labels as arrays, or a dataset of (image, label), got NoneType"),
        ("raises", "failed for split train: FileNotFoundError"),
        ("one_argument", "must take (split, home), got one_argument(split)"),
    ],
)
def test_a_broken_dataset_is_refused_with_its_split_and_image(code: Path, tmp_path: Path, name: str, rule: str) -> None:
    with pytest.raises(DataError) as caught:
        OwnDataset(name=f"brokenlab.data.{name}", home=tmp_path).read("train")
    assert rule in str(caught.value)
    assert f"brokenlab.data.{name}" in str(caught.value)


@pytest.mark.parametrize(("name", "channels"), [("pillow", 3), ("arrays", 1)])
def test_a_dataset_like_torchvisions_has_its_pixels_and_classes(
    code: Path, tmp_path: Path, name: str, channels: int
) -> None:
    decoded = OwnDataset(name=f"brokenlab.data.{name}", home=tmp_path).read("train")
    expected = np.random.default_rng(0).integers(0, 255, (24, 8, 8, 3) if channels == 3 else (24, 8, 8))
    assert np.array_equal(decoded.pixels.reshape(expected.shape), expected)
    assert decoded.pixels.shape == (24, 8, 8, channels)
    assert decoded.class_names == ("a", "b", "c")
    assert decoded.labels.tolist() == [0, 1, 2] * 8


def test_modules_are_found_with_those_that_they_import(tmp_path: Path) -> None:
    (tmp_path / "ownpack").mkdir()
    (tmp_path / "ownpack" / "__init__.py").write_text("from . import inner\nimport json, torch\n")
    (tmp_path / "ownpack" / "inner.py").write_text("from ownhelper import thing\n")
    (tmp_path / "ownhelper.py").write_text("thing = 1\n")
    (tmp_path / "unused.py").write_text("")
    found = find_modules(["ownpack"], [tmp_path])
    assert found == {"ownpack": tmp_path / "ownpack", "ownhelper": tmp_path / "ownhelper.py"}


def test_a_hash_covers_every_module_of_a_package_and_no_library(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    hashes = []
    for number in (0, 1):
        package = tmp_path / str(number) / f"hashed{number}"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "inner.py").write_text(f"value = {number // 1}\n")
        (package / "notes.txt").write_text(f"{number}")
        import_from(package.parent)
        hashes.append(code_hashes([f"hashed{number}.inner.value"])[f"hashed{number}"])
    assert hashes[0] != hashes[1]
    assert code_hashes(["torch.optim.NAdam", "optuna.samplers.TPESampler"]) == {}


def test_the_path_of_an_optimizer_is_that_of_a_subclass(code: Path) -> None:
    load_own("optimizer", "brokenlab.optimizers.Plain")
    with pytest.raises(UserError, match=r"must be a subclass of torch\.optim\.Optimizer, got <function"):
        load_own("optimizer", "brokenlab.optimizers.function")


def test_a_dotted_path_has_identifiers_alone() -> None:
    assert is_dotted("mylab.models.MyNet")
    for name in ("lkca", "LKCA-T", "timm:resnet18.a1_in1k", "a..b", "s3://a.b", "1.5"):
        assert not is_dotted(name), name
