"""Baselines: golden sizes, meanings of depth, width and kernel size, and timm models that cannot be built."""

import pytest
import torch
from torch import nn

from lkca_search.errors import Problem
from lkca_search.models.cost import count_parameters
from lkca_search.models.networks.cct import CCT, Tokenizer, num_layers
from lkca_search.models.registry import build_model, problems, resolve
from lkca_search.models.timm_models import close_timm_names, timm_family
from lkca_search.models.transformer_baselines import TRANSFORMER_BASELINES
from lkca_search.spec.configuration import Configuration, ImageShape

CIFAR = ImageShape(32, 32, 3)


def built(family: str, shape: ImageShape = CIFAR, **values: object) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model(Configuration.model_validate({"family": family, **values}), shape, 10)


def rules(family: str, shape: ImageShape = CIFAR, **values: object) -> list[Problem]:
    return list(problems(Configuration.model_validate({"family": family, **values}), shape, 10))


def convmixer_formula(d: int, depth: int, *, k: int = 5, p: int = 2, classes: int = 10) -> int:
    norm = 2 * d
    return 3 * p**2 * d + d + norm + depth * (k**2 * d + d + norm + d**2 + d + norm) + d * classes + classes


def cct_formula(d: int, depth: int, *, n: int = 256, k: int = 3, classes: int = 10) -> int:
    # attention, MLP of ratio 2, two norms
    block = 4 * d**2 + d + 4 * d**2 + 3 * d + 4 * d
    return 3 * k**2 * d + n * d + depth * block + 2 * d + d + d * classes + classes


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("ResNet-20", 272_474),
        ("ResNet-56", 855_770),
        ("ConvMixer-256-8", 594_186),
        ("convmixer", convmixer_formula(256, 8)),
        # CCT-7/3x1; the authors' 3,760,139 count the bias of the pooling's scores.
        ("cct", 3_760_138),
        ("cct", cct_formula(256, 7)),
    ],
)
def test_published_models_have_their_number_of_parameters(family: str, expected: int) -> None:
    assert count_parameters(built(family)) == expected


@pytest.mark.parametrize("width", [1, 3, 37, 64])
def test_a_resnet_of_any_width_has_three_stages_of_blocks_at_halved_resolutions(width: int) -> None:
    model = built("resnet", width=width, depth=2).eval()
    shapes = []
    for name, stage in model.named_children():
        if name.startswith("stage"):
            assert len(list(stage.children())) == 2
            stage.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape)))
    model(torch.zeros(2, 3, 32, 32))
    assert shapes == [(2, -(-width // 4), 32, 32), (2, -(-width // 2), 16, 16), (2, width, 8, 8)]


def test_resnet_convolutions_start_by_fan_out_and_drop_path_rises_from_zero() -> None:
    model = built("resnet", width=128, depth=2, drop_path_rate=0.5)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            expected = (2 / (module.out_channels * module.kernel_size[0] ** 2)) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.1)
    rates = [module.drop_prob for module in model.modules() if hasattr(module, "drop_prob")]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize(
    ("shape", "patch_size", "sides"),
    [
        (ImageShape(8, 8, 3), 1, [(8, 8), (4, 4), (2, 2), (1, 1)]),
        (ImageShape(28, 28, 3), 2, [(14, 14), (7, 7), (3, 3), (1, 1)]),
        (ImageShape(32, 32, 3), 2, [(16, 16), (8, 8), (4, 4), (2, 2)]),
        (ImageShape(64, 128, 3), 4, [(16, 32), (8, 16), (4, 8), (2, 4)]),
    ],
)
def test_convnext_starts_at_the_patch_grid_and_halves_it_three_times(
    shape: ImageShape, patch_size: int, sides: list[tuple[int, int]]
) -> None:
    model = built("convnext", shape, width=50, depth=1)
    assert resolve(Configuration(family="convnext"), shape, 10).patch_size == patch_size
    seen = []
    stages = model.get_submodule("stages")
    for stage in stages.children():
        stage.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[1:])))
    model(torch.zeros(2, shape.channels, shape.height, shape.width))
    assert seen == [(channels, *side) for channels, side in zip((7, 13, 25, 50), sides, strict=True)]


@pytest.mark.parametrize("shape", [ImageShape(8, 8, 3), CIFAR, ImageShape(64, 128, 3)], ids=str)
def test_kernels_of_convnext_have_no_column_of_taps_that_touches_no_token(shape: ImageShape) -> None:
    model = built("convnext", shape, width=50, depth=1).eval()  # without drop path, which may drop every image
    generator = torch.Generator().manual_seed(0)
    model(torch.randn(2, shape.channels, shape.height, shape.width, generator=generator)).square().sum().backward()
    kernels = {name: p for name, p in model.named_parameters() if name.endswith("conv_dw.weight")}
    assert len(kernels) == 4
    for name, kernel in kernels.items():
        assert kernel.grad is not None
        # (C, 1, k, k) -> (k,)
        assert kernel.grad.ne(0).any(dim=0).flatten(0, 1).any(dim=0).all(), name


@pytest.mark.parametrize(
    ("shape", "patch_size"),
    [
        (ImageShape(28, 28, 1), 4),
        (ImageShape(28, 28, 1), 2),
        (ImageShape(20, 52, 3), 4),
        (ImageShape(8, 8, 3), 1),
        (ImageShape(10, 10, 3), 2),
    ],
)
def test_swin_accepts_any_grid_of_five_tokens_or_more(shape: ImageShape, patch_size: int) -> None:
    model = built("swin", shape, width=48, patch_size=patch_size)
    images = torch.zeros(2, shape.channels, shape.height, shape.width)
    assert model(images).shape == (2, 10)


@pytest.mark.parametrize(
    ("width", "num_heads", "heads"),
    [(192, None, [3, 6, 12]), (384, None, [6, 12, 24]), (53, None, [1, 2, 4]), (12, 3, [1, 1, 3]), (41, 7, [1, 3, 7])],
)
def test_swin_splits_its_heads_over_the_stages(width: int, num_heads: int | None, heads: list[int]) -> None:
    model = built("swin", width=width, num_heads=num_heads, depth=1)
    tables = [p for name, p in model.named_parameters() if name.endswith("relative_position_bias_table")]
    assert [table.shape[1] for table in tables] == heads


@pytest.mark.parametrize(
    ("pooling", "extra"), [("mean", 0), ("class_token", 2 * 136)], ids=["a class token", "and its position"]
)
def test_timm_vit_has_the_parameters_of_vit_and_a_bias_on_q_k_and_v(pooling: str, extra: int) -> None:
    ours, theirs = (count_parameters(built(family, pooling=pooling)) for family in ("vit", "timm_vit"))
    assert theirs - ours == 9 * 3 * 136
    assert ours - count_parameters(built("vit")) == extra


@pytest.mark.parametrize(
    ("height", "width", "layers", "tokens"),
    [(8, 8, 1, 16), (7, 10, 1, 20), (28, 28, 1, 196), (32, 32, 1, 256), (33, 33, 2, 81), (64, 64, 2, 256)],
)
def test_cct_halves_an_image_until_its_shorter_side_has_16_tokens(
    height: int, width: int, layers: int, tokens: int
) -> None:
    shape = ImageShape(height, width, 1)
    assert num_layers(shape) == layers
    assert Tokenizer(1, layers, 3, 8)(torch.rand(2, 1, height, width)).shape == (2, tokens, 8)
    assert (
        len(
            TRANSFORMER_BASELINES["cct"]
            .build(resolve(Configuration(family="cct"), shape, 2), shape, 2)
            .tokenizer.convolutions
        )
        == layers
    )
    assert built("cct", shape, width=8, depth=1)(torch.rand(2, 1, height, width)).shape == (2, 10)


def test_cct_pools_tokens_by_the_softmax_of_their_scores() -> None:
    model = built("cct", ImageShape(8, 8, 3), width=8, depth=1).eval()
    assert isinstance(model, CCT)
    assert model.positions is not None
    images = torch.rand(3, 3, 8, 8)
    tokens = model.norm(model.blocks(model.tokenizer(images) + model.positions))
    weights = model.scores(tokens).exp()
    pooled = (weights * tokens).sum(dim=1) / weights.sum(dim=1)
    torch.testing.assert_close(model(images), model.head(pooled))


@pytest.mark.parametrize(
    ("values", "location", "rule"),
    [
        ({"family": "convnext", "patch_size": 8}, "patch_size", "must leave at least 8 tokens on the shorter side"),
        ({"family": "convnext", "width": 16}, "width", "width of convnext must be at least 17, three channels"),
        ({"family": "convnext", "kernel_size": 33}, "kernel_size", "odd and at most 31 on a 16x16 grid, got 33"),
        ({"family": "swin", "patch_size": 8}, "patch_size", "must leave at least 5 tokens on the shorter side"),
        ({"family": "swin", "patch_size": 64}, "patch_size", "must divide height and width of the image, got 64"),
        ({"family": "swin", "width": 11}, "width", "must be at least 12, three channels in the first stage, got 11"),
        ({"family": "swin", "width": 12, "num_heads": 16}, "num_heads", "got (4, 8, 16) heads for (3, 6, 12) channels"),
        ({"family": "swin", "mlp_ratio": 0.01}, "mlp_ratio", "at least one hidden unit, got 0.01 of width 48"),
        ({"family": "timm_vit", "num_heads": 5}, "num_heads", "must divide the width, got 5 heads for width 136"),
        ({"family": "convmixer", "kernel_size": 4}, "kernel_size", "must be odd and at most 31 on a 16x16 grid, got 4"),
        ({"family": "cct", "kernel_size": 2}, "kernel_size", "must be odd and at most 63 on a 32x32 grid, got 2"),
        ({"family": "cct", "width": 41}, "width", "num_heads must divide the width, got 4 heads for width 41"),
    ],
)
def test_a_baseline_that_cannot_be_built_is_refused_with_rule_and_values(
    values: dict[str, object], location: str, rule: str
) -> None:
    (problem,) = list(problems(Configuration.model_validate(values), CIFAR, 10))
    assert problem.location == (location,)
    assert rule in problem.rule


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("timm:vit_tiny_patch16_224", None),
        ("timm:swin_tiny_patch4_window7_224", None),
        ("timm:resnet18", None),
        ("timm:inception_v3", "Calculated padded input size per channel: (1 x 1). Kernel size: (3 x 3). "),
        ("timm:bat_resnext26ts", "AssertionError"),
        ("timm:qwen3_vit_306m_enc", "its output is (2, 1, 2048) for 2 images and 10 classes"),
    ],
)
def test_a_timm_model_is_refused_on_images_that_it_cannot_classify(name: str, reason: str | None) -> None:
    expected = [] if reason is None else [f"{name} cannot classify 32x32 images with 3 channels: {reason}"]
    found = rules(name)
    assert [problem.location for problem in found] == [("family",)] * len(expected)
    assert all(problem.rule.startswith(rule) for problem, rule in zip(found, expected, strict=True))


def test_the_word_channel_is_singular_for_one_channel() -> None:
    (problem,) = rules("timm:inception_v3", ImageShape(28, 28, 1))
    assert "cannot classify 28x28 images with 1 channel: " in problem.rule


@pytest.mark.parametrize(
    "name",
    ["resnet18", "timm:", "timm:resnet", "timm:hf_hub:timm/resnet18", "timm:hf-hub:a/b", "timm:resnet18.a1"],
)
def test_only_names_of_timm_architectures_are_timm_families(name: str) -> None:
    assert timm_family(name) is None


def test_the_error_for_a_misspelled_timm_model_has_similar_names() -> None:
    assert close_timm_names("timm:resnet18.a1_in1k")[0] == "timm:resnet18"
    (problem,) = rules("timm:resnt18")
    assert problem.rule.startswith("unknown family 'timm:resnt18'; similar models of timm: timm:resnet18, ")
    (problem,) = rules("timm:hf_hub:somebody/something")
    assert problem.rule == "unknown family 'timm:hf_hub:somebody/something'; similar models of timm: none"
