"""Laws that every family obeys, the authors' parameter counts, and the rules a configuration can break."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lkca_search.configuration import NAMES, Configuration, ImageShape
from lkca_search.errors import Problem, UserError
from lkca_search.models.registry import (
    COMMON,
    FAMILIES,
    PRESETS,
    build_model,
    count_parameters,
    problems,
    resolve,
)

SMALL = ImageShape(8, 8, 3)
SIZES = [
    (ImageShape(8, 8, 1), 1),
    (ImageShape(28, 28, 1), 4),
    (ImageShape(32, 32, 3), 4),
    (ImageShape(64, 64, 3), 8),
    (ImageShape(16, 8, 3), 4),
]
every_family = pytest.mark.parametrize("family", FAMILIES)


def small(family: str, **values: object) -> Configuration:
    return Configuration.model_validate({"family": family, "width": 16, "depth": 2, "patch_size": 2, **values})


def seeded(configuration: Configuration, shape: ImageShape = SMALL, *, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_model(configuration, shape, 5)


def random_images(shape: ImageShape, count: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, shape.channels, shape.height, shape.width, generator=generator)


def trained(model: nn.Module, *, steps: int) -> nn.Module:
    """Take SGD steps, dropping no path, and leave the last gradients in place."""
    model.eval()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(random_images(SMALL)), torch.arange(4)).backward()
        optimiser.step()
    return model


@every_family
@pytest.mark.parametrize(("shape", "patch_size"), SIZES)
def test_every_family_classifies_every_image_size(family: str, shape: ImageShape, patch_size: int) -> None:
    model = seeded(small(family, patch_size=patch_size), shape)
    logits = model(random_images(shape))
    assert logits.shape == (4, 5)
    assert logits.isfinite().all()


@every_family
def test_every_parameter_has_a_gradient_and_a_non_zero_one_by_the_second_step(family: str) -> None:
    first, second = (trained(seeded(small(family)), steps=steps) for steps in (1, 2))
    assert [name for name, parameter in first.named_parameters() if parameter.grad is None] == []
    assert [name for name, p in second.named_parameters() if p.grad is None or not p.grad.any()] == []


@every_family
def test_the_same_seed_gives_the_same_model_and_another_seed_another(family: str) -> None:
    first, again, other = (seeded(small(family), seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@every_family
def test_logits_of_an_image_do_not_depend_on_its_batch(family: str) -> None:
    model = trained(seeded(small(family)), steps=2).double().eval()
    images = random_images(SMALL).double()
    alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(model(images), alone, rtol=1e-10, atol=1e-10)


@every_family
def test_a_saved_model_loads_into_a_new_one_and_gives_equal_logits(family: str, tmp_path: Path) -> None:
    model = trained(seeded(small(family)), steps=2)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = seeded(small(family), seed=1).eval()
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert torch.equal(model(random_images(SMALL)), other(random_images(SMALL)))


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [
        *[(family, "patch_size", 4) for family in FAMILIES],
        *[(family, "depth", 3) for family in FAMILIES],
        *[(family, "width", 24) for family in FAMILIES],
        *[(family, "mlp_ratio", 1.5) for family in FAMILIES],
        *[(family, "drop_path_rate", 0.9) for family in FAMILIES],
        ("lkca", "kernel_size", 3),
        ("vit", "num_heads", 4),
        ("vit", "pooling", "class_token"),
    ],
)
def test_no_name_of_a_model_is_ignored(family: str, name: str, value: object) -> None:
    def outcome(configuration: Configuration) -> tuple[int, list[list[float]]]:
        model = seeded(configuration)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return count_parameters(model), model(random_images(SMALL)).tolist()

    assert outcome(small(family)) != outcome(small(family, **{name: value}))


def test_every_name_is_common_or_taken_by_a_family_and_none_is_both() -> None:
    specific = {name for family in FAMILIES.values() for name in family.defaults}
    assert COMMON | specific == set(NAMES)
    assert not COMMON & specific
    unset = {name for name, field in Configuration.model_fields.items() if field.default is None}
    assert specific == unset - {"images_per_class"}


@every_family
def test_resolving_fills_what_the_family_takes_and_nothing_else(family: str) -> None:
    resolved = resolve(small(family), SMALL)
    filled = {name for name in NAMES if getattr(resolved, name) != getattr(small(family), name)}
    assert filled == set(FAMILIES[family].defaults)
    assert resolve(resolved, SMALL) == resolved
    assert Configuration.model_validate(resolved.model_dump()) == resolved


def test_resolving_keeps_what_was_given() -> None:
    given = small("vit", num_heads=2, pooling="class_token")
    assert resolve(given, SMALL) == given


@pytest.mark.parametrize(("shape", "kernel_size"), [(ImageShape(8, 8, 3), 7), (ImageShape(8, 6, 3), 5)])
def test_the_default_kernel_spans_the_shorter_side_of_the_grid(shape: ImageShape, kernel_size: int) -> None:
    assert resolve(small("lkca"), shape).kernel_size == kernel_size


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
    ],
)
def test_presets_have_the_published_parameter_counts(preset: str, exact: int, unused: int, published: str) -> None:
    with torch.device("meta"):
        configuration = Configuration.model_validate({**PRESETS[preset], "patch_size": 8})
        model = build_model(configuration, ImageShape(64, 64, 3), 200)
    assert count_parameters(model) == exact
    assert f"{(exact + unused) / 1e6:.3f}M" == published


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_no_problems_at_32_and_64_pixels(preset: str) -> None:
    for side, patch_size in ((32, 4), (64, 8)):
        configuration = Configuration.model_validate({**PRESETS[preset], "patch_size": patch_size})
        assert list(problems(configuration, ImageShape(side, side, 3))) == []


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        (
            Configuration(family="mamba"),
            [Problem(("family",), f"unknown family 'mamba'; known families: {', '.join(FAMILIES)}")],
        ),
        (
            small("vit", kernel_size=3),
            [Problem(("kernel_size",), "kernel_size does not apply to family vit; give it when: {family: [lkca]}")],
        ),
        (
            small("lkca", num_heads=2, pooling="mean"),
            [
                Problem(("num_heads",), "num_heads does not apply to family lkca; give it when: {family: [vit]}"),
                Problem(("pooling",), "pooling does not apply to family lkca; give it when: {family: [vit]}"),
            ],
        ),
        (
            small("lkca", patch_size=3, kernel_size=99),
            [Problem(("patch_size",), "patch_size must divide height and width of the image, got 3 on 8x8")],
        ),
        (
            small("lkca", patch_size=16),
            [Problem(("patch_size",), "patch_size must divide height and width of the image, got 16 on 8x8")],
        ),
        (
            small("lkca", patch_size=1, kernel_size=16),
            [Problem(("kernel_size",), "kernel_size must be odd and at most 15 on an 8x8 grid, got 16")],
        ),
        (
            small("vit", num_heads=5),
            [Problem(("num_heads",), "num_heads must divide the width, got 5 heads on width 16")],
        ),
        (
            small("vit", width=20),
            [Problem(("width",), "num_heads must divide the width, got 8 heads on width 20")],
        ),
        (
            small("vit", mlp_ratio=0.03, patch_size=3),
            [
                Problem(("patch_size",), "patch_size must divide height and width of the image, got 3 on 8x8"),
                Problem(("mlp_ratio",), "mlp_ratio must leave at least one hidden unit, got 0.03 of width 16"),
            ],
        ),
    ],
)
def test_every_broken_rule_is_found_with_its_place_and_values(
    configuration: Configuration, expected: list[Problem]
) -> None:
    assert list(problems(configuration, SMALL)) == expected
    with pytest.raises(UserError) as error:
        resolve(configuration, SMALL)
    assert str(error.value).splitlines() == [problem.rule for problem in expected]


def test_a_classifier_needs_two_classes() -> None:
    with pytest.raises(ValueError, match=r"^num_classes must be at least 2, got 1$"):
        build_model(small("lkca"), SMALL, 1)
