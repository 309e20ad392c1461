"""Costs equal the formulas of the layers and the counts of a real forward pass."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lkca_search.models import registry
from lkca_search.models.cost import Cost, count_activation_bytes, count_flops, count_parameters, measure_cost
from lkca_search.models.networks.lkca import LKCA
from lkca_search.models.registry import FAMILIES, PRESETS, build_model, find_family, problems
from lkca_search.spec.configuration import Configuration, ImageShape

SHAPE = ImageShape(32, 32, 3)
NUM_CLASSES = 10
SIDE, WIDTH, DEPTH, PATCH = 8, 24, 3, 4
TOKENS = SIDE**2

families = pytest.mark.parametrize("family", FAMILIES)


def build(**values: object) -> nn.Module:
    return build_model(Configuration.model_validate(values), SHAPE, NUM_CLASSES)


def cost(batch_size: int = 4, **values: object) -> Cost:
    return measure_cost(lambda: build(**values), SHAPE, batch_size=batch_size)


def backbone_flops(mixing: int) -> int:
    """Return the FLOPs of the patches, of each block (`mixing` and an MLP of twice the width) and of the head."""
    patches = 2 * TOKENS * 3 * PATCH**2 * WIDTH
    mlp = 2 * (2 * TOKENS * WIDTH * 2 * WIDTH)
    return patches + DEPTH * (mixing + mlp) + 2 * WIDTH * NUM_CLASSES


PROJECTION = 2 * TOKENS * WIDTH**2
FORMULAS = [
    ("identity", {}, 0),
    ("lkca", {"kernel_size": 1}, 2 * PROJECTION + 2 * TOKENS * WIDTH),
    ("lkca", {"kernel_size": 7}, 2 * PROJECTION + 2 * TOKENS * WIDTH * 7**2),
    ("lkca", {"kernel_size": 9}, 2 * PROJECTION + 2 * TOKENS**2 * WIDTH),
    ("lkca", {"kernel_size": 15}, 2 * PROJECTION + 2 * TOKENS**2 * WIDTH),
    ("lkca_depthwise", {"kernel_size": 15}, 2 * PROJECTION + 2 * TOKENS**2 * WIDTH),
    ("vit", {"num_heads": 4}, 3 * PROJECTION + 2 * (2 * TOKENS**2 * WIDTH) + PROJECTION),
    ("vit", {"num_heads": 8}, 3 * PROJECTION + 2 * (2 * TOKENS**2 * WIDTH) + PROJECTION),
]


@pytest.mark.parametrize(("family", "values", "mixing"), FORMULAS)
def test_flops_are_those_of_the_layers(family: str, values: dict[str, object], mixing: int) -> None:
    shared = {"width": WIDTH, "depth": DEPTH, "patch_size": PATCH, "mlp_ratio": 2.0}
    assert cost(family=family, **shared, **values).flops == backbone_flops(mixing)


@families
def test_the_activations_of_a_short_precision_are_those_of_a_real_step(family: str) -> None:
    model, images = build(family=family), torch.zeros(4, SHAPE.channels, *SHAPE[:2])
    with torch.autocast("cpu", torch.bfloat16):
        expected = count_activation_bytes(model, images)
    for precision in ("bfloat16", "float16"):
        short = measure_cost(lambda: build(family=family), SHAPE, batch_size=4, precision=precision)  # type: ignore[arg-type]
        assert short.activation_bytes == pytest.approx(expected, rel=0.05)
    assert cost(family=family).flops == short.flops


@families
def test_costs_are_those_of_a_real_model(family: str) -> None:
    model, images = build(family=family), torch.zeros(4, SHAPE.channels, *SHAPE[:2])
    found = cost(family=family)
    assert found.num_parameters == count_parameters(model)
    assert found.flops == count_flops(model, images[:1])
    assert found.activation_bytes == pytest.approx(count_activation_bytes(model, images), rel=0.05)


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"lkca", "lkca_grouped", "lkca_depthwise"}))
def test_flops_are_torchs_own_count(family: str) -> None:
    model = build(family=family).eval()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, SHAPE.channels, *SHAPE[:2]))
    assert cost(family=family).flops == counter.get_total_flops()


@pytest.mark.parametrize("family", ["lkca", "vit", "convmixer", "resnet"])
def test_flops_are_linear_in_the_depth(family: str) -> None:
    two, three, four = (cost(family=family, depth=depth).flops for depth in (2, 3, 4))
    assert four - three == three - two > 0


def test_flops_of_lkca_do_not_depend_on_its_backend() -> None:
    model, image = build(family="lkca", depth=2), torch.zeros(1, SHAPE.channels, *SHAPE[:2])
    layers = [module for module in model.modules() if isinstance(module, LKCA)]
    counts = set()
    for backend in ("auto", "conv", "attention", "fft"):
        for layer in layers:
            layer.backend = backend
        counts.add(count_flops(model, image))
        assert [layer.backend for layer in layers] == [backend, backend]
    assert len(counts) == 1


@pytest.mark.parametrize("family", [*FAMILIES, *PRESETS])
@pytest.mark.parametrize(("shape", "batch_size"), [(SHAPE, 7), (ImageShape(8, 8, 1), 64), (ImageShape(28, 28, 1), 1)])
def test_a_run_on_few_images_counts_what_tensors_without_memory_count(
    family: str, shape: ImageShape, batch_size: int
) -> None:
    hyperparameters = find_family(family).hyperparameters  # type: ignore[union-attr]
    rates = {name: 0.1 for name in ("dropout", "drop_path_rate") if name in hyperparameters}
    for values in ({}, rates):
        configuration = Configuration.model_validate({"family": family, **values})
        if any(problems(configuration, shape, NUM_CLASSES)):
            continue
        build = partial(build_model, configuration, shape, NUM_CLASSES)
        few, every = (measure_cost(build, shape, batch_size=batch_size, is_linear=each) for each in (True, False))
        assert few == every


@families
def test_activation_bytes_are_linear_in_the_batch_size(family: str) -> None:
    few, more, most = (cost(size, family=family).activation_bytes for size in (8, 16, 24))
    assert most - more == more - few > 0


def test_activation_bytes_exclude_parameters_and_buffers() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 7), nn.BatchNorm1d(7), nn.Linear(7, 2))
    floats = 4 * 3 * 32 * 32 + 2 * (4 * 7) + 2 * 7  # the images, in and out of the norm, its mean and deviation
    assert count_activation_bytes(model, torch.zeros(4, 3, 32, 32)) == 4 * floats


@families
def test_counting_takes_no_memory_and_draws_no_numbers(family: str) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert cost(10**6, family=family).activation_bytes > 10**12 / 4
    assert torch.equal(torch.get_rng_state(), before)


@families
def test_a_rate_changes_the_cost_only_by_whether_it_is_zero(family: str) -> None:
    for rate in {"drop_path_rate", "dropout"} & FAMILIES[family].hyperparameters.keys():
        assert cost(family=family, **{rate: 0.1}) == cost(family=family, **{rate: 0.7})


def test_trials_that_differ_in_rates_share_one_count_of_their_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []
    monkeypatch.setattr(registry, "measure_cost", lambda *args, **options: measured.append(args) or "cost")
    for rate in (0.11, 0.12, 0.13, 0.0):
        configuration = Configuration(family="lkca", width=23, depth=2, drop_path_rate=rate, learning_rate=1 + rate)
        registry.model_cost(configuration, SHAPE, NUM_CLASSES, batch_size=3)
    assert len(measured) == 2  # with and without drop path
