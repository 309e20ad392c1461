"""Cost of a model, counted without training it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from lkca_search.models.networks.backends import Backend
from lkca_search.models.networks.lkca import LKCA
from lkca_search.models.networks.meta_device import meta_device
from lkca_search.spec.configuration import ImageShape, UsedPrecision

_SMALL_MODEL, _SMALL_IMAGE = 3_000_000, 64 * 64
"""Maximum parameters, and pixels of an image, of a model that is run: a forward pass takes milliseconds."""
_SHORT = ("bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Parameters, operations and activation memory of a model, the same on every machine."""

    num_parameters: int
    """Learnable parameters."""
    flops: int
    """Floating-point operations of one image's forward pass; a multiply-add counts as two.

    A training step takes three times as many per image. Convolutions and matrix products count, elementwise operations
    do not. LKCA counts as the cheaper of its `conv` and `attention` backends, for every backend that computes it.
    """
    activation_bytes: int
    """Bytes that a training step keeps for the backward pass on the CPU, without parameters and buffers.

    In bfloat16 and float16, the short copies of the weights are among them.
    """


def measure_cost(
    build: Callable[[], nn.Module],
    shape: ImageShape,
    *,
    batch_size: int,
    precision: UsedPrecision = "float32",
    is_linear: bool = False,
) -> Cost:
    """Count the cost of the model that `build` returns, for training steps of `batch_size` images in a precision.

    No random numbers are drawn. A small model is run on three images. A large one is run with tensors that have no
    memory, which imports torch's compiler in two seconds, and then takes 0.1 s per model. The counts are equal.

    Args:
        build: Function that returns the model.
        shape: Shape of an image.
        batch_size: Images per training step.
        precision: Type of matrix products and convolutions.
        is_linear: True if a small model may be run on a few images, as its activations are linear in their number.
    """
    with meta_device():
        model = build()
    num_parameters = count_parameters(model)
    is_small = num_parameters <= _SMALL_MODEL and shape.height * shape.width <= _SMALL_IMAGE
    if is_linear and is_small and batch_size > 1 and precision not in _SHORT:  # a batch of one has other strides
        return Cost(num_parameters=num_parameters, **_count_on_few_images(model, shape, batch_size))
    from torch._subclasses.fake_tensor import FakeTensorMode

    # Attention keeps its whole matrix on `meta`, but not on the CPU.
    with FakeTensorMode():
        _move_to_cpu(model)
        images = torch.empty(batch_size, shape.channels, shape.height, shape.width)
        return Cost(
            num_parameters=num_parameters,
            activation_bytes=_count_activation_bytes(model, images, precision),
            flops=count_flops(model, images[:1]),
        )


def _count_on_few_images(model: nn.Module, shape: ImageShape, batch_size: int) -> dict[str, int]:
    """Return the bytes and operations of a model on `meta`, from runs with one, two and three images of zeros."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several threads are slower for so small a model
    try:
        with torch.random.fork_rng(devices=[]):
            _move_to_cpu(model)
            one, two, three = (torch.zeros(count, shape.channels, shape.height, shape.width) for count in (1, 2, 3))
            two_bytes, three_bytes = (count_activation_bytes(model, images) for images in (two, three))
            bytes_per_image = three_bytes - two_bytes
            return {
                "activation_bytes": two_bytes + (batch_size - 2) * bytes_per_image,
                "flops": count_flops(model, one),
            }
    finally:
        torch.set_num_threads(num_threads)


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count_flops(model: nn.Module, image: Tensor) -> int:
    """Return `Cost.flops`: (1, channels, height, width) -> operations. The model is left in evaluation mode."""
    model.eval()
    layers = [module for module in model.modules() if isinstance(module, LKCA)]
    if not layers:
        return _forward_flops(model, image)
    backends: tuple[Backend, ...] = ("conv", "attention")  # torch does not count FFTs
    originals = [layer.backend for layer in layers]
    counts = []
    for backend in backends:
        for layer in layers:
            layer.backend = backend
        counts.append(_forward_flops(model, image))
    for layer, original in zip(layers, originals, strict=True):
        layer.backend = original
    # All layers of a model share one grid and kernel size, so one backend is the cheaper for all of them.
    return min(counts)


def count_activation_bytes(model: nn.Module, images: Tensor) -> int:
    """Return `Cost.activation_bytes`: (B, channels, height, width) -> bytes. The model is left in training mode."""
    model.train()
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    # The output holds the graph: the address of a freed storage could be reused and counted once.
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(images)
    for tensor in (*model.parameters(), *model.buffers()):
        kept.pop(tensor.untyped_storage()._cdata, None)
    del output
    return sum(storage.nbytes() for storage in kept.values())


def _count_activation_bytes(model: nn.Module, images: Tensor, precision: UsedPrecision) -> int:
    if precision not in _SHORT:
        return count_activation_bytes(model, images)
    with torch.autocast("cpu", torch.bfloat16):  # as long as float16
        return count_activation_bytes(model, images)


def _move_to_cpu(model: nn.Module) -> None:
    """Replace the tensors on `meta` by zeros on the CPU, which are fake tensors in a FakeTensorMode."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(_empty_like(parameter), requires_grad=parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, _empty_like(buffer))


def _empty_like(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype).zero_()


def _forward_flops(model: nn.Module, image: Tensor) -> int:
    counter = _FlopCounter()
    # torch does not count the fused attention kernel of the CPU; SDPBackend.MATH uses plain matrix products.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model(image)
    return counter.flops


class _FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sum of torch's own formulas, as FlopCounterMode, which imports torch's compiler at its first operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        from torch.utils.flop_counter import flop_registry  # it imports Triton, which few processes need

        self._formulas = flop_registry
        self.flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: torch then does not import its compiler to keep it away from this mode."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        formula = self._formulas.get(func._overloadpacket)
        self.flops += formula(*args, **(kwargs or {}), out_val=output) if formula else 0
        return output
