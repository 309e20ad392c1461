"""Rivals with the bias of a convolution: initial weights of attention, shifted patches, locality attention, VAN."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lkca_search.errors import Problem
from lkca_search.models.cost import count_parameters
from lkca_search.models.networks.attention_init import IMPULSE_NORM, initialize_mimetic, shift_matrix
from lkca_search.models.networks.backbone import Backbone, ShiftedPatchEmbedding, shift_diagonally
from lkca_search.models.networks.mixers import Attention, LocalityAttention
from lkca_search.models.networks.van import VAN, LargeKernelAttention, LKAMixer
from lkca_search.models.registry import build_model, find_family, problems, resolve
from lkca_search.spec.configuration import Configuration, ImageShape

CIFAR = ImageShape(32, 32, 3)


def built(family: str = "vit", shape: ImageShape = CIFAR, *, num_classes: int = 10, **values: object) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model(Configuration.model_validate({"family": family, **values}), shape, num_classes)


def attentions(model: nn.Module) -> list[Attention]:
    return [module for module in model.modules() if isinstance(module, Attention)]


def query_key_product(layer: Attention, head: int) -> Tensor:
    """Return the matrix between two tokens of which attention is the softmax, without its scale: (C, C)."""
    query, key, _ = layer.qkv.weight.detach().chunk(3)
    rows = slice(head * len(query) // layer.num_heads, (head + 1) * len(query) // layer.num_heads)
    return query[rows].T @ key[rows]


def value_out_product(layer: Attention) -> Tensor:
    return layer.out.weight.detach() @ layer.qkv.weight.detach().chunk(3)[2]


def near_identity(product: Tensor) -> tuple[float, float]:
    """Return the mean of the diagonal, and the standard deviation of all else as a multiple of 1 / sqrt(C)."""
    channels = len(product)
    rest = product[~torch.eye(channels, dtype=torch.bool)]
    return product.diag().mean().item(), rest.std().item() * channels**0.5


def test_mimetic_products_of_one_head_are_the_identity_and_its_negative_with_the_papers_weights_of_noise() -> None:
    layer = Attention(256, 1)
    initialize_mimetic([layer])
    assert near_identity(query_key_product(layer, 0)) == pytest.approx((0.7, 0.7), abs=0.02)
    assert near_identity(value_out_product(layer)) == pytest.approx((-0.4, 0.4), abs=0.02)


def test_a_mimetic_head_has_the_largest_singular_values_of_its_product() -> None:
    layer = Attention(64, 4)
    initialize_mimetic([layer])
    generator = torch.Generator().manual_seed(0)
    products = [0.7 * torch.randn(64, 64, generator=generator) / 8 + 0.7 * torch.eye(64) for _ in range(32)]
    usual = torch.stack([torch.linalg.svdvals(product)[:16] for product in products]).mean(0)
    found = torch.stack([torch.linalg.svdvals(query_key_product(layer, head)) for head in range(4)]).mean(0)
    torch.testing.assert_close(found[:16], usual, rtol=0.1, atol=0)
    assert found[16:].max() < 1e-4


@pytest.mark.parametrize("init", ["mimetic", "impulse"])
def test_structured_initial_weights_change_attention_alone(init: str) -> None:
    default, structured = (built(attention_init=each).state_dict() for each in ("default", init))
    changed = {name for name in default if not torch.equal(default[name], structured[name])}
    assert changed == {f"blocks.{i}.mixer.{layer}.weight" for i in range(9) for layer in ("qkv", "out")}


def attention_maps(model: nn.Module) -> Tensor:
    """Return the attention of each layer and head between tokens that are normalized positions: (L, heads, N, N)."""
    assert isinstance(model, Backbone)
    assert model.positions is not None
    tokens = F.layer_norm(model.positions.detach()[0, -64:], model.positions.shape[-1:])
    maps = []
    for layer in attentions(model):
        scale = (tokens.shape[-1] // layer.num_heads) ** -0.5
        products = [query_key_product(layer, head) for head in range(layer.num_heads)]
        maps.append(torch.stack([(tokens @ product @ tokens.T * scale).softmax(-1) for product in products]))
    return torch.stack(maps)


@pytest.mark.parametrize("values", [{}, {"width": 192, "num_heads": 12}, {"pooling": "class_token"}], ids=str)
def test_impulse_attention_maps_are_convolutions_with_one_tap(values: dict[str, object]) -> None:
    maps = attention_maps(built(attention_init="impulse", **values))
    offsets = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]
    shifts = torch.stack([shift_matrix((8, 8), offset) for offset in offsets])
    inside = shifts.sum(-1)
    # (L, heads, 9): mean attention that goes to the token at each offset, over the tokens that have one
    share = (maps[:, :, None] * shifts).sum((-1, -2)) / inside.sum(-1)
    assert share.max(-1).values.min() > 0.8
    taps = share.argmax(-1)
    assert all(layer[:9].unique().numel() == min(9, len(layer)) for layer in taps)  # the heads of a layer differ
    assert taps[:, 0].unique().numel() > 1  # and so do layers
    default = attention_maps(built(**values))
    assert (default[:, :, None] * shifts).sum((-1, -2)).div(inside.sum(-1)).max() < 0.1


def test_impulse_weights_have_the_norm_of_the_authors_code_and_a_mimetic_value() -> None:
    for layer in attentions(built(attention_init="impulse")):
        for weight in layer.qkv.weight.chunk(3)[:2]:
            norms = weight.unflatten(0, (layer.num_heads, -1)).flatten(1).norm(dim=1)
            torch.testing.assert_close(norms, torch.full((layer.num_heads,), IMPULSE_NORM))
        assert near_identity(value_out_product(layer)) == pytest.approx((-0.4, 0.4), abs=0.05)


def test_a_shift_matrix_is_a_convolution_with_one_tap() -> None:
    image = torch.arange(12.0).view(1, 1, 3, 4)
    for row in range(3):
        for column in range(3):
            kernel = torch.zeros(1, 1, 3, 3)
            kernel[0, 0, row, column] = 1
            expected = F.conv2d(image, kernel, padding=1).flatten()
            assert torch.equal(shift_matrix((3, 4), (row - 1, column - 1)) @ image.flatten(), expected)


@pytest.mark.parametrize("init", ["mimetic", "impulse"])
@pytest.mark.parametrize("shape", [ImageShape(8, 8, 3), ImageShape(16, 8, 1), ImageShape(64, 64, 3)], ids=str)
@pytest.mark.parametrize("patch_size", [4, 8])
def test_structured_weights_are_finite_on_every_grid(init: str, shape: ImageShape, patch_size: int) -> None:
    model = built(shape=shape, attention_init=init, patch_size=patch_size, width=24, num_heads=3, depth=2)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_shifted_copies_are_the_image_moved_along_four_diagonals_with_zeros_behind_it() -> None:
    image = torch.arange(1.0, 17).view(1, 1, 4, 4)
    same, *copies = shift_diagonally(image, 1)[0]
    assert torch.equal(same, image[0, 0])
    expected = [torch.zeros(4, 4) for _ in range(4)]
    expected[0][1:, 1:] = image[0, 0, :-1, :-1]
    expected[1][1:, :-1] = image[0, 0, :-1, 1:]
    expected[2][:-1, 1:] = image[0, 0, 1:, :-1]
    expected[3][:-1, :-1] = image[0, 0, 1:, 1:]
    assert all(torch.equal(copy, moved) for copy, moved in zip(copies, expected, strict=True))


@pytest.mark.parametrize(("patch_size", "shift"), [(2, 1), (3, 1), (4, 2)])
def test_a_shifted_patch_sees_half_a_patch_around_it(patch_size: int, shift: int) -> None:
    embedding = ShiftedPatchEmbedding(1, patch_size, 5).double()
    images = torch.randn(1, 1, 3 * patch_size, 3 * patch_size, dtype=torch.float64, requires_grad=True)
    embedding(images)[0, 4].square().sum().backward()  # the token in the middle
    assert images.grad is not None
    seen = images.grad[0, 0] != 0
    expected = torch.zeros_like(seen)
    expected[patch_size - shift : 2 * patch_size + shift, patch_size - shift : 2 * patch_size + shift] = True
    assert torch.equal(seen, expected)
    assert embedding.norm.normalized_shape == (5 * patch_size**2,)


def test_locality_attention_is_softmax_over_the_other_tokens_divided_by_a_temperature_per_head() -> None:
    layer = LocalityAttention(12, 3).double()
    layer.inverse_temperature.data = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    tokens = torch.randn(2, 5, 12, dtype=torch.float64)
    query, key, value = (part.unflatten(2, (3, 4)).transpose(1, 2) for part in layer.qkv(tokens).chunk(3, -1))
    scores = query @ key.transpose(2, 3) * layer.inverse_temperature[:, None, None]
    scores.diagonal(dim1=2, dim2=3).fill_(-torch.inf)
    expected = layer.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(tokens), expected)
    layer(tokens).square().sum().backward()
    assert layer.inverse_temperature.grad is not None
    assert layer.inverse_temperature.grad.ne(0).all()
    assert torch.allclose(LocalityAttention(12, 3).inverse_temperature, torch.tensor(4.0).rsqrt())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"attention_init": "impulse", "position_embedding": False},
            ("attention_init", "attention_init must be default or mimetic without position_embedding, got impulse"),
        ),
        (
            {"locality_attention": True, "patch_size": 32},
            ("locality_attention", "locality_attention must have at least two tokens, got one"),
        ),
        (
            {"shifted_patches": True, "patch_size": 1},
            (
                "shifted_patches",
                "patch_size must be at least 2 with shifted_patches, half of which is the shift, got 1",
            ),
        ),
    ],
)
def test_variants_that_cannot_work_are_refused(values: dict[str, object], expected: tuple[str, str]) -> None:
    configuration = Configuration.model_validate({"family": "vit", **values})
    name, rule = expected
    assert list(problems(configuration, CIFAR, 10)) == [Problem((name,), rule)]


def test_lka_multiplies_a_map_by_weights_from_the_21_tokens_around_each() -> None:
    layer = LargeKernelAttention(2, (32, 32)).double()
    x = torch.randn(1, 2, 32, 32, dtype=torch.float64, requires_grad=True)
    near = F.conv2d(x, layer.near.weight, layer.near.bias, padding=2, groups=2)
    far = F.conv2d(near, layer.far.weight, layer.far.bias, padding=9, dilation=3, groups=2)
    expected = x * F.conv2d(far, layer.mix.weight, layer.mix.bias)
    torch.testing.assert_close(layer(x), expected)
    (gradient,) = torch.autograd.grad(layer(x)[0, 0, 16, 16], x)
    rows = gradient[0].any(0).any(1).nonzero()
    # 5 taps of the first kernel around each of the 7 taps, 3 apart, of the second: 2 * 9 + 5
    assert (rows.min().item(), rows.max().item()) == (16 - 11, 16 + 11)


@pytest.mark.parametrize(("grid", "near", "far"), [((32, 32), 5, 7), ((8, 8), 5, 5), ((4, 4), 5, 3), ((2, 2), 3, 1)])
def test_kernels_of_lka_have_no_tap_that_touches_no_token(grid: tuple[int, int], near: int, far: int) -> None:
    layer = LargeKernelAttention(3, grid).double()
    assert (layer.near.kernel_size, layer.far.kernel_size) == ((near, near), (far, far))
    output = layer(torch.randn(2, 3, *grid, dtype=torch.float64))
    assert output.shape == (2, 3, *grid)
    output.square().sum().backward()
    for convolution in (layer.near, layer.far):
        assert convolution.weight.grad is not None
        assert convolution.weight.grad.ne(0).all()


def test_the_lka_mixer_is_projection_gelu_attention_projection_on_the_grid() -> None:
    layer = LKAMixer(6, (3, 5)).double()
    tokens = torch.randn(2, 15, 6, dtype=torch.float64)
    images = F.gelu(layer.before(tokens)).transpose(1, 2).unflatten(2, (3, 5))
    torch.testing.assert_close(layer(tokens), layer.after(layer.attention(images).flatten(2).transpose(1, 2)))


@pytest.mark.parametrize(
    ("dims", "depths", "published"),
    [
        ((32, 64, 160, 256), (3, 3, 5, 2), "4.11M"),
        ((64, 128, 320, 512), (2, 2, 4, 2), "13.86M"),
        ((64, 128, 320, 512), (3, 3, 12, 3), "26.58M"),
    ],
    ids=["B0", "B1", "B2"],
)
def test_van_has_the_published_number_of_parameters(
    dims: tuple[int, ...], depths: tuple[int, ...], published: str
) -> None:
    """On images of 448 pixels no kernel is cut."""
    with torch.device("meta"):
        model = VAN(
            ImageShape(448, 448, 3),
            1000,
            dims=dims,
            depths=depths,
            mlp_ratios=(8, 8, 4, 4),
            patch_size=4,
            drop_path_rate=0.0,
            make_drop_path=nn.Dropout,
        )
    assert f"{count_parameters(model) / 1e6:.2f}M" == published


def test_the_preset_van_b1_is_the_published_network() -> None:
    with torch.device("meta"):
        model = build_model(Configuration(family="VAN-B1", patch_size=4), ImageShape(448, 448, 3), 1000)
    assert f"{count_parameters(model) / 1e6:.2f}M" == "13.86M"


def test_van_halves_its_grid_three_times_and_starts_near_the_identity() -> None:
    model = built("van", width=64, drop_path_rate=0.0).eval()
    assert isinstance(model, VAN)
    shapes: list[tuple[int, ...]] = []
    for stage in model.stages:
        stage.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape)))
    model(torch.zeros(2, 3, 32, 32))
    assert shapes == [(2, 8, 16, 16), (2, 16, 8, 8), (2, 40, 4, 4), (2, 64, 2, 2)]
    assert all(scale.eq(0.01).all() for name, scale in model.named_parameters() if name.endswith("_scale"))


def test_words_for_the_report_name_the_initial_weights_of_attention() -> None:
    family = find_family("vit")
    assert family is not None
    words = {
        init: family.describe_initialization(resolve(Configuration(family="vit", attention_init=init), CIFAR, 10))
        for init in ("default", "mimetic", "impulse")
    }
    assert words["default"] == "Xavier-normal linear weights, zero biases, standard-normal positions"
    assert "query-key product near the identity" in words["mimetic"]
    assert "impulse filters" in words["impulse"]
