"""Tests of `lkca-search models`, and of docs/models.md: both match the registry."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lkca_search.models.cost import measure_cost
from lkca_search.models.listing import BATCH_SIZE, COMMON_NAMES, list_models
from lkca_search.models.networks.backends import fastest_backend
from lkca_search.models.registry import FAMILIES, PRESETS, build_model, find_family, resolve
from lkca_search.spec.configuration import Configuration, ImageShape
from tests.support.processes import Command, parsed

CIFAR = ImageShape(32, 32, 3)
DOCS = (Path(__file__).parents[2] / "docs" / "models.md").read_text()


def test_every_family_and_preset_is_listed_with_its_hyperparameters_and_costs(command: Command) -> None:
    code, out, err = command("models")
    assert (code, err) == (0, "")
    lines = {words[0]: line for line in out.splitlines() if (words := line.split())}
    assert [name for name in lines if find_family(name)] == [*FAMILIES, *PRESETS]
    for name, family in FAMILIES.items():
        assert family.label in lines[name]
        assert set(family.hyperparameters) <= set(lines[name].split())
    for name, preset in PRESETS.items():
        assert lines[name].split()[-len(preset.fixed) :] == fixed_values(name)
    assert lines["ResNet-20"].split()[1:3] == ["0.27", "81.6"]
    assert lines["timm:NAME"].startswith("timm:NAME is any timm model")
    assert set(COMMON_NAMES) <= set(lines)
    assert lines["batch_size"].split()[1] == "training.batch_size"
    assert "standard = crop+flip; strong = crop+flip+rand_augment+erase+cutmix+mixup" in lines["augment:"]


def fixed_values(preset: str) -> list[str]:
    order = Configuration.model_fields
    fixed = PRESETS[preset].fixed
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in fixed.items()}
    return [f"{name}={texts[name]}" for name in order if name in fixed]


def test_the_json_list_has_costs_for_the_given_images(command: Command) -> None:
    listed = parsed(command("models", "--json", "--size", "4", "--channels", "1", "--classes", "3"))
    assert [model["name"] for model in listed] == [*FAMILIES, *PRESETS]
    too_coarse = ["swin", "convnext", "van", "VAN-B1"]
    assert [model["name"] for model in listed if model["cost"] is None] == too_coarse
    for model in listed:
        if model["name"] in too_coarse:
            assert "tokens on the shorter side, got 4x4 tokens" in model["problem"]
        else:
            assert model["problem"] is None


def test_a_model_that_does_not_fit_the_images_is_listed_with_the_rule(command: Command) -> None:
    code, out, err = command("models", "--size", "4")
    assert (code, err) == (0, "")
    assert "swin does not fit these images: patch_size of swin must leave at least 5 tokens" in out


@pytest.mark.parametrize("name", ["lkca", "swin", "convmixer", "ViT-Lite", "timm:resnet18"])
def test_a_model_is_described_by_its_defaults_and_costs(command: Command, name: str) -> None:
    shape = ImageShape(16, 16, 1)
    resolved = resolve(Configuration(family=name), shape, 5)
    cost = measure_cost(lambda: build_model(resolved, shape, 5), shape, batch_size=BATCH_SIZE)
    described = parsed(command("models", name, "--json", "--size", "16", "--channels", "1", "--classes", "5"))
    defaults = {hyperparameter["name"]: hyperparameter["default"] for hyperparameter in described["names"]}
    assert defaults == {hyperparameter: getattr(resolved, hyperparameter) for hyperparameter in defaults}
    family = find_family(name)
    assert family is not None
    assert defaults.keys() | {"match_parameters"} == family.hyperparameters.keys() | {"match_parameters"}
    assert {hyperparameter["name"] for hyperparameter in described["names"] if hyperparameter["fixed"]} == set(
        family.fixed
    )
    assert described["label"] == family.label
    assert described["cost"] == vars(cost)


def test_a_family_can_redefine_the_meaning_of_a_hyperparameter(command: Command) -> None:
    meanings = {
        family: {
            hyperparameter["name"]: hyperparameter["meaning"]
            for hyperparameter in parsed(command("models", family, "--json"))["names"]
        }
        for family in ("resnet", "lkca")
    }
    assert meanings["resnet"]["depth"] == FAMILIES["resnet"].meanings["depth"]
    assert meanings["lkca"]["depth"] == "number of blocks; blocks per stage in a family with stages"
    assert all(meaning for family in meanings.values() for meaning in family.values())


def test_a_preset_has_no_match_parameters_since_its_width_is_fixed() -> None:
    names = {model.name: [hyperparameter.name for hyperparameter in model.names] for model in list_models(CIFAR, 10)}
    assert all("match_parameters" in names[family] for family in FAMILIES)
    assert not any("match_parameters" in names[preset] for preset in PRESETS)


def test_a_described_model_has_one_line_per_hyperparameter(command: Command) -> None:
    code, out, err = command("models", "LKCA-T")
    assert (code, err) == (0, "")
    assert out.startswith("LKCA-T: LKCA-T (arXiv 2401.05738)\n")
    for start in (
        r"width +136, fixed +embedding dimension of a token",
        r"kernel_size +15 +side of the token-mixing kernel",
        r"position_embedding +true +true if",
        r"parameters +1,027,611",
        r"FLOPs per image +138,709,664",
        r"bytes of activations at batch size 128 +404,129,792",
    ):
        assert re.search(f"^{start}", out, re.MULTILINE), start


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ("models mamba", "unknown family 'mamba'; known families: lkca, "),
        ("models timm:resnt18", "unknown family 'timm:resnt18'; similar models of timm: timm:resnet18, "),
        ("models timm:inception_v3", "timm:inception_v3 cannot classify 32x32 images with 3 channels: "),
        ("models swin --size 4", "patch_size of swin must leave at least 5 tokens on the shorter side, got 4x4 tokens"),
    ],
)
def test_an_invalid_model_ends_with_code_2_and_the_rule(command: Command, arguments: str, rule: str) -> None:
    code, out, err = command(*arguments.split())
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {rule}")


@pytest.mark.parametrize("arguments", ["models --classes 1", "models --size 0", "models lkca vit"])
def test_invalid_images_end_with_code_2(command: Command, arguments: str) -> None:
    code, out, err = command(*arguments.split())
    assert (code, out) == (2, "")
    assert "Usage: lkca-search models" in err


def test_help_loads_no_model() -> None:
    code = (
        "import sys\nfrom lkca_search.cli.app import main\nsys.argv = ['lkca-search', 'models', '--help']\n"
        "try:\n    main()\nfinally:\n    print(sorted({'torch', 'timm'} & sys.modules.keys()), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stderr == "[]\n"


# The page


def table(*header: str) -> list[list[str]]:
    """Return the rows of the table of docs/models.md with this header."""
    start = DOCS.index(f"| {' | '.join(header)} |\n")
    rows = DOCS[start:].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_docs_list_every_family_and_its_kernel_size() -> None:
    rows = table("family", "depth", "width", "kernel size")
    assert [quoted(row[0]) for row in rows] == [[family] for family in FAMILIES]
    for family, (_, depth, width, kernel_size) in zip(FAMILIES.values(), rows, strict=True):
        assert [bool(depth), bool(width)] == ["depth" in family.hyperparameters, "width" in family.hyperparameters]
        assert bool(kernel_size) == ("kernel_size" in family.hyperparameters)


def test_the_docs_list_every_preset_with_its_family_and_values() -> None:
    rows = table("preset", "family", "fixed", "from")
    assert [quoted(row[0]) for row in rows] == [[preset] for preset in PRESETS]
    for preset, (_, family, fixed, source) in zip(PRESETS, rows, strict=True):
        assert PRESETS[preset].build is FAMILIES[quoted(family)[0]].build
        assert fixed.split() == fixed_values(preset)
        assert source in PRESETS[preset].label


def test_the_docs_list_the_families_of_each_variant_hyperparameter() -> None:
    for name, _, owners in table("hyperparameter", "values", "families"):
        assert set(quoted(owners)) == {
            family for family, owner in FAMILIES.items() if quoted(name)[0] in owner.hyperparameters
        }, name


def test_the_docs_name_the_fastest_backend_per_grid_and_kernel_size() -> None:
    for grids, last, beyond in table("grid", "`conv` up to kernel size", "beyond"):
        for grid in grids.split(", "):
            side = int(grid.split("x")[0])
            tokens = torch.zeros(1, side**2, 1, device="meta")
            for size in range(1, 2 * side, 2):
                backend = fastest_backend(torch.zeros(1, size, size, device="meta"), (side, side), tokens)
                assert backend == ("conv" if size <= int(last) else quoted(beyond)[0]), (grid, size)
