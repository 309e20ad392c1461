"""LKCA: every backend equals the formula of the paper, forward and backward, and every tap of a kernel is used."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lkca_search.models.networks import backends
from lkca_search.models.networks.backends import Backend, attention_matrix, mix_tokens
from lkca_search.models.networks.grid import Grid, full_kernel_size
from lkca_search.models.networks.lkca import LKCA, KernelInit

BACKENDS: tuple[Backend, ...] = ("conv", "attention", "fft")
GRIDS: tuple[Grid, ...] = ((1, 1), (2, 2), (4, 4), (5, 5), (3, 5), (6, 4), (2, 7))
CASES = [(grid, size) for grid in GRIDS for size in range(1, full_kernel_size(grid) + 1, 2)] + [((8, 8), 15)]
every_backend = pytest.mark.parametrize("backend", BACKENDS)


def matrices_by_loop(kernel: Tensor, grid: Grid) -> Tensor:
    """Return A[(i,j),(k,m)] = K[c+k-i, c+m-j] of every kernel, 0 outside K, as in the paper."""
    height, width = grid
    size, center = kernel.shape[-1], kernel.shape[-1] // 2
    tokens = list(product(range(height), range(width)))
    taps = []
    for (i, j), (k, m) in product(tokens, tokens):
        row, column = center + k - i, center + m - j
        taps.append(row * size + column if 0 <= row < size and 0 <= column < size else size**2)
    with_zero = torch.nn.functional.pad(kernel.flatten(1), (0, 1))
    return with_zero[:, taps].view(-1, height * width, height * width)


def layer_by_loop(layer: LKCA, tokens: Tensor) -> Tensor:
    """Compute the layer: each kernel's matrix times the value tokens of its channels."""
    values = (tokens @ layer.value.weight.T).chunk(len(layer.kernel), dim=2)
    matrices = matrices_by_loop(layer.kernel, layer.grid)
    mixed = torch.cat([matrix @ value for matrix, value in zip(matrices, values, strict=True)], dim=2)
    return mixed @ layer.out.weight.T + layer.out.bias


def random_layer(
    grid: Grid, kernel_size: int, backend: Backend | None = None, *, embed_dim: int = 3, num_kernels: int = 1
) -> LKCA:
    generator = torch.Generator().manual_seed(kernel_size)
    layer = LKCA(embed_dim, grid, kernel_size, num_kernels=num_kernels, backend=backend or "auto").double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=generator)
    return layer


def random_tokens(grid: Grid, seed: int, *, batch: int = 2, embed_dim: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, grid[0] * grid[1], embed_dim, dtype=torch.float64, generator=generator)


def largest(tensor: Tensor) -> float:
    return tensor.detach().abs().max().item()


def assert_every_backend_is_the_formula(
    grid: Grid, kernel_size: int, *, embed_dim: int = 3, num_kernels: int = 1
) -> None:
    """Compare values within 1e-12 and all gradients within 1e-11, relative to the largest."""
    layer = random_layer(grid, kernel_size, embed_dim=embed_dim, num_kernels=num_kernels)
    tokens = random_tokens(grid, 0, embed_dim=embed_dim).requires_grad_()
    weights = random_tokens(grid, 1, embed_dim=embed_dim)
    inputs = (tokens, *layer.parameters())

    expected = layer_by_loop(layer, tokens)
    expected_gradients = torch.autograd.grad((expected * weights).sum(), inputs)
    for backend in BACKENDS:
        layer.backend = backend
        actual = layer(tokens)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12 * largest(expected))
        actual_gradients = torch.autograd.grad((actual * weights).sum(), inputs)
        for given_one, expected_one in zip(actual_gradients, expected_gradients, strict=True):
            torch.testing.assert_close(given_one, expected_one, rtol=0, atol=1e-11 * largest(expected_one))


@pytest.mark.parametrize("side", range(1, 10))
def test_every_backend_and_its_gradients_equal_the_formula_for_every_kernel_of_a_square_grid(side: int) -> None:
    for kernel_size in range(1, 2 * side, 2):
        assert_every_backend_is_the_formula((side, side), kernel_size)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_every_backend_and_its_gradients_equal_the_formula_on_any_grid_with_any_kernels(data: st.DataObject) -> None:
    grid = data.draw(st.tuples(st.integers(1, 16), st.integers(1, 16)))
    center = data.draw(st.integers(0, min(grid) - 1))
    num_kernels, channels = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 3)))
    assert_every_backend_is_the_formula(grid, 2 * center + 1, embed_dim=num_kernels * channels, num_kernels=num_kernels)


@pytest.mark.parametrize("side", [1, 2, 4, 6])
def test_the_full_kernel_on_a_square_grid_is_read_from_its_center_s_minus_1(side: int) -> None:
    kernel = torch.randn(1, 2 * side - 1, 2 * side - 1, generator=torch.Generator().manual_seed(0))
    matrix = attention_matrix(kernel, (side, side)).view(side, side, side, side)
    for i, j, k, m in product(range(side), repeat=4):
        assert matrix[i, j, k, m] == kernel[0, side - 1 + k - i, side - 1 + m - j]


@every_backend
@pytest.mark.parametrize(("grid", "kernel_size"), CASES)
def test_a_smaller_kernel_is_the_full_one_with_zeros_outside_its_center(
    grid: Grid, kernel_size: int, backend: Backend
) -> None:
    small, full = (
        random_layer(grid, kernel_size, backend),
        LKCA(3, grid, full_kernel_size(grid), backend=backend).double(),
    )
    margin = (full_kernel_size(grid) - kernel_size) // 2
    padded = torch.nn.functional.pad(small.kernel, [margin] * 4)
    full.load_state_dict({**small.state_dict(), "kernel": padded})
    tokens = random_tokens(grid, 0)
    torch.testing.assert_close(small(tokens), full(tokens), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("grid", GRIDS)
def test_every_tap_of_the_largest_kernel_touches_a_token(grid: Grid) -> None:
    layer = random_layer(grid, full_kernel_size(grid), "conv")
    layer(random_tokens(grid, 0)).square().sum().backward()
    assert layer.kernel.grad is not None
    assert (layer.kernel.grad != 0).all()


@pytest.mark.parametrize("num_kernels", [1, 3])
def test_weights_interchange_between_backends(num_kernels: int) -> None:
    tokens = random_tokens((3, 5), 0)
    source = random_layer((3, 5), 3, "conv", num_kernels=num_kernels)
    for backend in BACKENDS:
        other = LKCA(3, (3, 5), 3, num_kernels=num_kernels, backend=backend).double()
        other.load_state_dict(source.state_dict())
        torch.testing.assert_close(other(tokens), source(tokens), rtol=1e-12, atol=1e-12)


def test_equal_kernels_for_every_channel_are_the_one_kernel_of_the_paper() -> None:
    one, many = random_layer((4, 4), 5), LKCA(3, (4, 4), 5, num_kernels=3).double()
    many.load_state_dict({**one.state_dict(), "kernel": one.kernel.expand(3, -1, -1)})
    tokens = random_tokens((4, 4), 0)
    torch.testing.assert_close(one(tokens), many(tokens), rtol=1e-12, atol=1e-12)


@every_backend
def test_a_new_layer_outputs_its_bias(backend: Backend) -> None:
    layer = LKCA(3, (4, 4), 7, backend=backend).double()
    assert torch.equal(layer(random_tokens((4, 4), 0)), layer.out.bias.expand(2, 16, 3))


@every_backend
def test_a_kernel_that_starts_as_delta_leaves_tokens_where_they_are(backend: Backend) -> None:
    layer = LKCA(4, (3, 4), 5, num_kernels=2, init="delta", backend=backend).double()
    tokens = random_tokens((3, 4), 0, embed_dim=4)
    torch.testing.assert_close(layer(tokens), layer.out(layer.value(tokens)), rtol=1e-12, atol=1e-12)


def test_a_kernel_that_starts_as_normal_has_variance_one_over_its_taps() -> None:
    kernel = LKCA(8, (16, 16), 31, num_kernels=8, init="normal").kernel
    assert kernel.std().item() * 31 == pytest.approx(1, rel=0.05)
    assert kernel.mean().item() * 31 == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    ("embed_dim", "grid", "kernel_size", "num_kernels"),
    [(136, (8, 8), 15, 1), (5, (3, 5), 5, 1), (1, (1, 1), 1, 1), (136, (8, 8), 15, 8), (136, (8, 8), 3, 136)],
)
def test_a_layer_has_two_maps_one_bias_and_its_kernels(
    embed_dim: int, grid: Grid, kernel_size: int, num_kernels: int
) -> None:
    layer = LKCA(embed_dim, grid, kernel_size, num_kernels=num_kernels)
    expected = embed_dim**2 + num_kernels * kernel_size**2 + embed_dim**2 + embed_dim
    assert sum(parameter.numel() for parameter in layer.parameters()) == expected
    assert layer.kernel.shape == (num_kernels, kernel_size, kernel_size)


@every_backend
@pytest.mark.parametrize("num_kernels", [1, 2])
def test_second_derivatives_are_correct(backend: Backend, num_kernels: int) -> None:
    layer = random_layer((3, 2), 3, backend, embed_dim=2, num_kernels=num_kernels)

    def output(tokens: Tensor, kernel: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(layer, {"kernel": kernel}, (tokens,))
        return result

    inputs = (random_tokens((3, 2), 0, embed_dim=2).requires_grad_(), layer.kernel.detach().requires_grad_())
    assert torch.autograd.gradcheck(output, inputs)
    assert torch.autograd.gradgradcheck(output, inputs)


@every_backend
@pytest.mark.parametrize("num_kernels", [1, 2])
def test_autocast_gives_bfloat16_near_the_float32_result_and_float32_gradients(
    backend: Backend, num_kernels: int
) -> None:
    layer = random_layer((8, 8), 7, backend, embed_dim=4, num_kernels=num_kernels).float()
    tokens = random_tokens((8, 8), 0, embed_dim=4).float()
    exact = layer(tokens)
    exact.square().mean().backward()
    gradients = [parameter.grad.clone() for parameter in layer.parameters() if parameter.grad is not None]
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        rough = layer(tokens)
    rough.float().square().mean().backward()
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, rtol=0, atol=0.03 * largest(exact))
    for parameter, gradient in zip(layer.parameters(), gradients, strict=True):
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=0.03 * largest(gradient))


@every_backend
def test_the_gradient_of_a_kernel_in_bfloat16_does_not_lose_images_of_a_large_batch(backend: Backend) -> None:
    """A sum that is rounded to bfloat16 after every image is wrong by 0.5% for 256 images."""
    kernel = random_layer((8, 8), 15, backend, embed_dim=4).kernel.detach().float()
    value, weights = (1 + random_tokens((8, 8), seed, batch=256, embed_dim=4).float() / 2 for seed in (0, 1))
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        taps = kernel.clone().requires_grad_()
        mixed = mix_tokens(value.to(dtype), taps, (8, 8), backend)
        (gradient,) = torch.autograd.grad((mixed * weights.to(dtype)).float().sum(), taps)
        gradients.append(gradient)
    exact, rough = gradients
    assert (rough - exact).norm() < 2e-3 * exact.norm()


def test_the_attention_backend_takes_float32_tokens_under_autocast() -> None:
    value = random_tokens((8, 8), 0, embed_dim=4).float().requires_grad_()
    kernel = random_layer((8, 8), 7, "attention", embed_dim=4).kernel.detach().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = mix_tokens(value, kernel, (8, 8), "attention")
    gradients = torch.autograd.grad(mixed.float().sum(), (value, kernel))
    assert mixed.dtype == torch.bfloat16
    assert {gradient.dtype for gradient in gradients} == {torch.float32}


@every_backend
@pytest.mark.parametrize("num_kernels", [1, 2])
def test_a_compiled_layer_is_one_graph_and_equals_the_layer(backend: Backend, num_kernels: int) -> None:
    layer = random_layer((4, 3), 5, backend, embed_dim=4, num_kernels=num_kernels)
    tokens, weights = (random_tokens((4, 3), seed, embed_dim=4) for seed in (0, 1))
    expected = torch.autograd.grad((layer(tokens) * weights).sum(), tuple(layer.parameters()))
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(tokens), layer(tokens), rtol=1e-12, atol=1e-12)
    actual = torch.autograd.grad((compiled(tokens) * weights).sum(), tuple(layer.parameters()))
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("chunk_bytes", [1, 4000, 10**9])
def test_chunks_of_the_fft_backend_give_the_same_result(chunk_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "CHUNK_BYTES", chunk_bytes)
    layer, tokens = random_layer((4, 5), 7, "fft"), random_tokens((4, 5), 0, batch=5)
    torch.testing.assert_close(layer(tokens), layer_by_loop(layer, tokens), rtol=1e-12, atol=1e-12)


def test_the_attention_backend_has_no_matrix_per_image_if_tokens_outnumber_channels() -> None:
    """The gradient of the attention backend is summed image by image: (N, N) is allocated, (B, N, N) is not."""
    batch, grid = 64, (12, 12)
    layer = LKCA(4, grid, 23, backend="attention")
    tokens = torch.randn(batch, 144, 4, generator=torch.Generator().manual_seed(0))
    output = layer(tokens).square().mean()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        output.backward()
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert largest < batch * 144**2 * 4 / 8


@pytest.mark.parametrize(
    ("grid", "kernel_size", "message"),
    [
        ((8, 8), 16, "kernel_size must be odd and at most 15 on an 8x8 grid, got 16"),
        ((8, 8), 17, "kernel_size must be odd and at most 15 on an 8x8 grid, got 17"),
        ((3, 5), 7, "kernel_size must be odd and at most 5 on a 3x5 grid, got 7"),
        ((4, 4), -1, "kernel_size must be odd and at most 7 on a 4x4 grid, got -1"),
        ((11, 9), 2, "kernel_size must be odd and at most 17 on an 11x9 grid, got 2"),
    ],
)
def test_a_kernel_that_does_not_fit_the_grid_is_refused(grid: Grid, kernel_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        LKCA(4, grid, kernel_size)


@pytest.mark.parametrize("num_kernels", [0, 3, 8])
def test_kernels_that_do_not_share_the_channels_evenly_are_refused(num_kernels: int) -> None:
    with pytest.raises(
        ValueError, match=f"^num_kernels must divide embed_dim, got {num_kernels} kernels for 4 channels"
    ):
        LKCA(4, (4, 4), 3, num_kernels=num_kernels)


@pytest.mark.parametrize("init", ["zero", "delta"])
def test_only_the_normal_kernel_draws_random_numbers(init: KernelInit) -> None:
    def next_draw(how: KernelInit) -> float:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            LKCA(4, (4, 4), 3, init=how)
            return torch.rand(()).item()

    assert next_draw(init) == next_draw("zero") != next_draw("normal")
