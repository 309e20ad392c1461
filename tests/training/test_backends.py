"""Measured backends: one choice per node and shape, which every later attempt and rerun takes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lkca_search.layout import BACKENDS
from lkca_search.models.networks import backend_times
from lkca_search.models.networks.backend_times import CLEARLY_FASTER, LayerShape, choose_backend, measure_backends
from lkca_search.models.networks.backends import Backend, estimate_backend, mix_tokens
from lkca_search.models.networks.lkca import LKCA
from lkca_search.records.provenance import LayerBackend
from lkca_search.training.backends import cache
from lkca_search.training.backends.choice import (
    LayerSettings,
    apply_backends,
    choose_backends,
    read_backends,
    write_backends,
)

CPU = torch.device("cpu")
SHAPE = LayerShape((8, 8), 15, 1, 16)
SETTINGS = LayerSettings(4, CPU, "cpu")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LKCA_BACKEND_CACHE", str(tmp_path / "backends"))
    return tmp_path / "backends"


def layer(shape: LayerShape = SHAPE) -> LKCA:
    return LKCA(shape.channels, shape.grid, shape.kernel_size, num_kernels=shape.num_kernels)


def choice(backend: Backend, shape: LayerShape = SHAPE) -> LayerBackend:
    return LayerBackend(**shape._asdict(), backend=backend, batch_size=4, precision="float32", milliseconds={})


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        ({"conv": 5.0, "attention": 1.0, "fft": 2.0}, "attention"),
        ({"conv": 1.0, "attention": 1.09, "fft": 2.0}, "attention"),  # not clearly slower
        ({"conv": 1.0, "attention": 1.11, "fft": 2.0}, "conv"),
        ({"conv": 3.0, "fft": 2.0}, "fft"),  # the device cannot run the estimated one
        ({}, "attention"),
    ],
)
def test_the_estimated_backend_is_kept_unless_another_is_clearly_faster(
    milliseconds: dict[Backend, float], expected: Backend
) -> None:
    assert CLEARLY_FASTER == 1.1
    assert estimate_backend(SHAPE.grid, SHAPE.kernel_size, 1, torch.float32) == "attention"
    assert choose_backend(SHAPE, torch.float32, milliseconds) == expected


@pytest.mark.parametrize("num_kernels", [1, 4, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_backend_is_timed_in_milliseconds_without_random_numbers(num_kernels: int, dtype: torch.dtype) -> None:
    state = torch.random.get_rng_state()
    shape = SHAPE._replace(num_kernels=num_kernels, kernel_size=5)
    times = measure_backends(shape, batch_size=4, device=CPU, dtype=dtype)
    assert times.keys() <= {"conv", "attention", "fft"}
    assert times
    assert all(0 < taken < 10_000 for taken in times.values())
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_far_faster_backend_wins_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """63x63 taps on 16x16 tokens: the convolution does hundreds of times the work of the others."""
    shape = LayerShape((16, 16), 31, 1, 32)
    times = measure_backends(shape, batch_size=16, device=CPU)
    assert min(times, key=lambda name: times[name]) != "conv"
    monkeypatch.setattr(backend_times, "estimate_backend", lambda *arguments: "conv")
    assert choose_backend(shape, torch.float32, {"conv": 1000.0, **times}) != "conv"


def test_a_backend_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(value: torch.Tensor, kernel: torch.Tensor, grid: tuple[int, int], backend: Backend) -> torch.Tensor:
        if backend == "attention":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return mix_tokens(value, kernel, grid, backend)

    monkeypatch.setattr(backend_times, "mix_tokens", failing)
    times = measure_backends(SHAPE, batch_size=4, device=CPU)
    assert "attention" not in times
    assert times


def test_a_node_measures_a_shape_once_and_a_new_process_reads_the_choice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = choose_backends(layer(), SETTINGS)
    (path,) = folder.glob("*.json")
    stored = json.loads(path.read_text())["choices"]
    assert [value["backend"] for value in stored.values()] == [first[0].backend]
    assert first[0].milliseconds
    assert choose_backends(layer(), SETTINGS) == first
    # the choice in the file decides, whatever the times are now
    (key,) = stored
    stored[key]["backend"] = "fft"
    path.write_text(json.dumps({"choices": stored}))
    assert choose_backends(layer(), SETTINGS)[0].backend == "fft"
    # other settings, and another node, are measured anew
    choose_backends(layer(), SETTINGS._replace(batch_size=5))
    assert len(json.loads(path.read_text())["choices"]) == 2
    monkeypatch.setenv("LKCA_NODE", "another/node")
    choose_backends(layer(), SETTINGS)
    assert len(list(folder.glob("*.json"))) == 2


@pytest.mark.parametrize("content", [b"", b"{", b'{"choices": {"a": 1}}', b"\xff"])
def test_a_damaged_cache_is_measured_again(folder: Path, content: bytes) -> None:
    choose_backends(layer(), SETTINGS)
    (path,) = folder.glob("*.json")
    path.write_bytes(content)
    assert choose_backends(layer(), SETTINGS)[0].milliseconds
    assert len(json.loads(path.read_text())["choices"]) == 1


def test_a_cache_that_cannot_be_written_costs_only_the_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LKCA_BACKEND_CACHE", str(tmp_path / "file" / "folder"))
    assert choose_backends(layer(), SETTINGS)[0].milliseconds


def test_the_cache_is_in_the_users_cache_so_that_fresh_homes_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LKCA_BACKEND_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "lkca-search" / "backends"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / ".cache" / "lkca-search" / "backends"


def test_layers_of_one_shape_share_a_choice_and_given_choices_are_not_measured(folder: Path) -> None:
    other = SHAPE._replace(kernel_size=3)
    model = torch.nn.Sequential(layer(), layer(), layer(other))
    chosen = choose_backends(model, SETTINGS, given=[choice("fft"), choice("conv", other)])
    assert [each.backend for each in chosen] == ["fft", "conv"]
    assert not folder.exists()
    apply_backends(model, chosen)
    assert [each.backend for each in model] == ["fft", "fft", "conv"]
    estimated = choose_backends(model, SETTINGS, given=[choice("fft")], measure=False)
    assert [(each.backend, each.milliseconds) for each in estimated] == [("fft", {}), ("conv", {})]


def test_the_first_attempt_of_a_trial_decides(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("none", "first", "damaged", "second")]
    for attempt in folders:
        attempt.mkdir()
    write_backends((choice("fft"),), folders[1])
    (folders[2] / BACKENDS).write_text("{")
    write_backends((choice("conv"), choice("conv", SHAPE._replace(kernel_size=3))), folders[3])
    given = read_backends(folders)
    model = torch.nn.Sequential(layer(), layer(SHAPE._replace(kernel_size=3)))
    assert [each.backend for each in choose_backends(model, SETTINGS, given=given)] == ["fft", "conv"]


def test_nothing_is_measured_on_the_meta_device(folder: Path) -> None:
    with torch.device("meta"):
        model = layer()
    (chosen,) = choose_backends(model, SETTINGS._replace(device=torch.device("meta")))
    assert chosen.backend == "attention"
    assert not chosen.milliseconds
    assert not folder.exists()


def test_models_without_lkca_have_no_choices_and_no_file(tmp_path: Path) -> None:
    assert choose_backends(torch.nn.Linear(2, 2), SETTINGS) == ()
    write_backends((), tmp_path)
    assert not list(tmp_path.iterdir())
