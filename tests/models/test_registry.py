"""Laws that every family obeys, the authors' parameter counts, and the rules a configuration can break."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from lkca_search.errors import Problem, UserError
from lkca_search.models.cost import count_parameters
from lkca_search.models.family import COMMON
from lkca_search.models.registry import FAMILIES, PRESETS, build_model, find_family, problems, resolve
from lkca_search.spec.configuration import FAMILY_NAMES, NAMES, PRESET_NAMES, Configuration, ImageShape
from lkca_search.spec.recipe.rules import fill_recipe

SMALL = ImageShape(8, 8, 3)
SHAPES = [ImageShape(side, side, channels) for side in (8, 28, 32, 64) for channels in (1, 3)]
CHEAP_PRESETS = ("LKCA-T", "ViT-Lite", "ResNet-20")
TIMM = ("timm:resnet18", "timm:mobilenetv3_small_050", "timm:test_vit", "timm:test_convnext", "timm:test_efficientnet")

every_family = pytest.mark.parametrize("family", FAMILIES)
every_preset = pytest.mark.parametrize("preset", PRESETS)
every_name = pytest.mark.parametrize("name", [*FAMILIES, *PRESETS, *TIMM])


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread: small models are slower on several threads, in particular on a busy machine."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def small(family: str, **values: object) -> Configuration:
    return Configuration.model_validate({"family": family, "width": 32, "depth": 2, **values})


class Case(NamedTuple):
    """Small model, and images for it."""

    configuration: Configuration
    shape: ImageShape

    def build(self, *, seed: int = 0, **values: object) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return build_model(self.configuration.model_copy(update=values), self.shape, 5)

    def images(self, count: int = 4) -> Tensor:
        return random_images(self.shape, count)


CASES = {
    **{family: Case(small(family), SMALL) for family in FAMILIES},
    **{preset: Case(Configuration(family=preset), SMALL) for preset in CHEAP_PRESETS},
    **{name: Case(Configuration(family=name), ImageShape(32, 32, 3)) for name in TIMM},
}
every_model = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def test_a_space_file_may_have_exactly_the_families_and_presets_of_the_registry() -> None:
    assert (FAMILY_NAMES, PRESET_NAMES) == (tuple(FAMILIES), tuple(PRESETS))


def random_images(shape: ImageShape, count: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, shape.channels, shape.height, shape.width, generator=generator)


def without_drop_path(case: Case) -> nn.Module:
    family = find_family(case.configuration.family)
    assert family is not None
    return case.build(**({"drop_path_rate": 0.0} if "drop_path_rate" in family.hyperparameters else {}))


def trained(case: Case, *, steps: int) -> nn.Module:
    """Take SGD steps, dropping no path, and leave the last gradients in place."""
    model = without_drop_path(case)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(case.images()), torch.arange(4)).backward()
        optimiser.step()
    return model


@every_model
def test_every_parameter_has_a_gradient_and_a_non_zero_one_by_the_third_step(case: Case) -> None:
    first, third = (trained(case, steps=steps) for steps in (1, 3))
    assert [name for name, parameter in first.named_parameters() if parameter.grad is None] == []
    assert [name for name, p in third.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert all(parameter.isfinite().all() for parameter in third.parameters())


@every_model
def test_the_same_seed_gives_the_same_model_and_another_seed_another(case: Case) -> None:
    first, again, other = (case.build(seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@every_model
def test_logits_of_an_image_do_not_depend_on_its_batch(case: Case) -> None:
    model = trained(case, steps=2).double().eval()
    images = case.images().double()
    alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(model(images), alone, rtol=1e-10, atol=1e-10)


@every_model
def test_a_saved_model_loads_into_a_new_one_and_gives_equal_logits(case: Case, tmp_path: Path) -> None:
    model = trained(case, steps=2).eval()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = case.build(seed=1).eval()
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert torch.equal(model(case.images()), other(case.images()))


@every_family
@pytest.mark.parametrize("shape", [*SHAPES, ImageShape(16, 8, 3), ImageShape(24, 40, 1)], ids=str)
def test_every_family_classifies_every_image_size_with_its_own_patch(family: str, shape: ImageShape) -> None:
    model = build_model(small(family, depth=1), shape, 5)
    logits = model(random_images(shape))
    assert logits.shape == (4, 5)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", [*PRESETS, *TIMM])
@pytest.mark.parametrize("side", [32, 64])
def test_presets_and_timm_models_have_logits_at_usual_sizes(name: str, side: int) -> None:
    shape = ImageShape(side, side, 3)
    with torch.device("meta"):
        assert build_model(Configuration(family=name), shape, 5)(torch.empty(2, 3, side, side)).shape == (2, 5)


OTHER_VALUES = {
    "depth": 3,
    "width": 64,
    "mlp_ratio": 1.5,
    "kernel_init": "normal",
    "num_heads": 2,
    "pooling": "class_token",
    "position_embedding": False,
    "shifted_patches": True,
    "attention_init": "mimetic",
    "locality_attention": True,
    "drop_path_rate": 0.9,
    "dropout": 0.5,
}


@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family in FAMILIES for name in FAMILIES[family].hyperparameters]
)
def test_no_hyperparameter_of_a_family_is_ignored(family: str, name: str) -> None:
    base, shape = small(family), ImageShape(16, 16, 3)
    if name == "match_parameters":
        other = base.model_copy(update={"width": None, name: 400_000})
    else:
        default = getattr(resolve(base, shape, 5), name)
        small_sizes = {"patch_size": 2 if default == 1 else 1, "kernel_size": 3 if default == 5 else 5}
        other = base.model_copy(update={name: {**OTHER_VALUES, **small_sizes}[name]})

    def outcome(configuration: Configuration) -> tuple[int, list[list[float]]]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = build_model(configuration, shape, 5)
            torch.manual_seed(0)
            return count_parameters(model), model(random_images(shape)).tolist()

    assert outcome(base) == outcome(base)
    assert outcome(base) != outcome(other)


@every_name
def test_a_hyperparameter_of_another_family_is_refused_at_its_location(name: str) -> None:
    values = {**OTHER_VALUES, "patch_size": 2, "kernel_size": 3, "match_parameters": 60_000}
    family = find_family(name)
    assert family is not None
    for other in values.keys() - family.hyperparameters.keys():
        configuration = Configuration.model_validate({"family": name, other: values[other]})
        takers = ", ".join(key for key, taker in FAMILIES.items() if other in taker.hyperparameters)
        rule = f"{other} does not apply to family {name}; give it when: {{family: [{takers}]}}"
        assert list(problems(configuration, ImageShape(32, 32, 3), 5)) == [Problem((other,), rule)]


def test_every_hyperparameter_is_common_or_of_some_family_and_none_is_both() -> None:
    specific = {name for family in FAMILIES.values() for name in family.hyperparameters}
    assert COMMON | specific == set(NAMES)
    assert not COMMON & specific


@every_name
@pytest.mark.parametrize("shape", [ImageShape(32, 32, 3), ImageShape(64, 64, 1)], ids=str)
def test_resolving_fills_the_hyperparameters_of_the_family_and_no_others(name: str, shape: ImageShape) -> None:
    given, family = Configuration(family=name), find_family(name)
    assert family is not None
    resolved = resolve(given, shape, 10)
    filled = {name for name in NAMES if getattr(resolved, name) != getattr(given, name)}
    assert filled == (family.hyperparameters.keys() - {"match_parameters"}) | {"beta2"}
    assert resolve(resolved, shape, 10) == resolved
    assert Configuration.model_validate(resolved.model_dump()) == resolved


def test_resolving_keeps_values_set_by_the_user() -> None:
    given = small("vit", patch_size=4, num_heads=2, pooling="class_token", mlp_ratio=3.0, drop_path_rate=0.0)
    resolved = resolve(given, SMALL, 10)
    filled = {"position_embedding": True, "attention_init": "default", "dropout": 0.0}
    filled |= {"shifted_patches": False, "locality_attention": False}
    assert resolved == fill_recipe(given.model_copy(update=filled))


@pytest.mark.parametrize(
    ("shape", "patch_size", "kernel_size"),
    [(ImageShape(8, 8, 3), 1, 15), (ImageShape(28, 28, 1), 4, 13), (ImageShape(64, 48, 3), 8, 11)],
)
def test_the_default_grid_is_about_eight_tokens_and_the_default_kernel_spans_its_shorter_side(
    shape: ImageShape, patch_size: int, kernel_size: int
) -> None:
    resolved = resolve(Configuration(), shape, 10)
    assert (resolved.patch_size, resolved.kernel_size) == (patch_size, kernel_size)


@pytest.mark.parametrize(("width", "num_heads"), [(136, 8), (57, 3), (60, 10), (66, 6), (37 * 24, 8)])
def test_the_default_number_of_heads_divides_the_width_and_is_the_nearest_to_eight(width: int, num_heads: int) -> None:
    assert resolve(Configuration(family="vit", width=width), SMALL, 10).num_heads == num_heads


def lkca_formula(d: int, depth: int, ratio: int, *, p: int = 8, n: int = 64, k: int = 15, classes: int = 200) -> int:
    block = 4 * d + 2 * d**2 + d + k**2 + 2 * ratio * d**2 + ratio * d + d
    return 3 * p**2 * d + d + n * d + depth * block + 2 * d + d * classes + classes


def vit_formula(d: int, depth: int, ratio: int, *, p: int = 8, n: int = 64, classes: int = 200) -> int:
    block = 4 * d + 4 * d**2 + d + 2 * ratio * d**2 + ratio * d + d
    return 3 * p**2 * d + d + (n + 1) * d + d + depth * block + 2 * d + d * classes + classes


@pytest.mark.parametrize(
    ("preset", "exact", "unused", "published"),
    [
        # The authors allocate a class token for LKCA and never use it; ours is smaller by those numbers.
        ("LKCA-T", lkca_formula(136, 9, 2), 136, "1.073M"),
        ("LKCA-B", lkca_formula(210, 10, 2), 210, "2.762M"),
        ("LKCA-L", lkca_formula(360, 12, 3), 360, "12.649M"),
        ("ViT-Lite", vit_formula(136, 7, 2), 0, "1.106M"),
        ("ViT-Small", vit_formula(192, 9, 2), 0, "2.757M"),
        # Five images per patch instead of one and their LayerNorm; a temperature per head of each block.
        ("SL-ViT", vit_formula(192, 9, 2) + 4 * 3 * 8**2 * 192 + 2 * 5 * 3 * 8**2 + 9 * 12, 0, "2.906M"),
    ],
)
def test_presets_have_the_published_parameter_counts(preset: str, exact: int, unused: int, published: str) -> None:
    with torch.device("meta"):
        model = build_model(Configuration(family=preset), ImageShape(64, 64, 3), 200)
    assert count_parameters(model) == exact
    assert f"{(exact + unused) / 1e6:.3f}M" == published


@every_preset
def test_a_fixed_value_of_a_preset_can_be_repeated_and_not_changed(preset: str) -> None:
    fixed = PRESETS[preset].fixed
    assert not list(problems(Configuration.model_validate({"family": preset, **fixed}), SMALL, 10))
    changed = Configuration.model_validate({"family": preset, "depth": 1})
    rule = f"depth of preset {preset} is {fixed['depth']}, got 1"
    assert list(problems(changed, SMALL, 10)) == [Problem(("depth",), rule)]


def owners(name: str) -> str:
    return ", ".join(family for family in FAMILIES if name in FAMILIES[family].hyperparameters)


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        (
            Configuration(family="mamba"),
            [
                Problem(
                    ("family",),
                    f"unknown family 'mamba'; known families: {', '.join([*FAMILIES, *PRESETS])}, "
                    "timm:NAME for a model of timm, module.Name for your own",
                )
            ],
        ),
        (
            small("vit", kernel_size=3),
            [
                Problem(
                    ("kernel_size",),
                    f"kernel_size does not apply to family vit; give it when: {{family: [{owners('kernel_size')}]}}",
                )
            ],
        ),
        (
            small("lkca", patch_size=3, kernel_size=99),
            [Problem(("patch_size",), "patch_size must divide height and width of the image, got 3 on 8x8")],
        ),
        (
            small("lkca", patch_size=1, kernel_size=16),
            [Problem(("kernel_size",), "kernel_size must be odd and at most 15 on an 8x8 grid, got 16")],
        ),
        (
            small("vit", num_heads=5),
            [Problem(("num_heads",), "num_heads must divide the width, got 5 heads for width 32")],
        ),
        (
            small("vit", width=58),
            [Problem(("width",), "num_heads must divide the width, got 8 heads for width 58")],
        ),
        (
            small("vit", mlp_ratio=0.01, patch_size=3),
            [
                Problem(("patch_size",), "patch_size must divide height and width of the image, got 3 on 8x8"),
                Problem(("mlp_ratio",), "mlp_ratio must leave at least one hidden unit, got 0.01 of width 32"),
            ],
        ),
        (
            Configuration(family="LKCA-T", match_parameters=1_000_000),
            [Problem(("match_parameters",), "match_parameters does not apply to preset LKCA-T, whose width is fixed")],
        ),
    ],
)
def test_every_broken_rule_is_reported_with_its_location_and_values(
    configuration: Configuration, expected: list[Problem]
) -> None:
    assert list(problems(configuration, SMALL, 10)) == expected
    with pytest.raises(UserError) as error:
        resolve(configuration, SMALL, 10)
    assert str(error.value).splitlines() == [problem.rule for problem in expected]


def test_a_classifier_needs_two_classes() -> None:
    with pytest.raises(ValueError, match=r"^num_classes must be at least 2, got 1$"):
        build_model(small("lkca"), SMALL, 1)
