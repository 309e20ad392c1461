"""Device `meta` for models whose shapes alone are needed: they are built without random values."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_IN_PLACE = frozenset({Tensor.normal_, Tensor.uniform_})


class _WithoutValues(TorchFunctionMode):
    """Mode that leaves out random values on `meta`.

    torch computes the shapes of these operations in Python. Their first call imports torch's compiler, which takes a
    second, and each call takes a millisecond.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function, or leave its values out."""
        kwargs = kwargs or {}
        if func in _IN_PLACE and args[0].is_meta:
            return args[0]
        if func is torch.randn and kwargs.get("device") is None and kwargs.get("out") is None:
            return torch.empty(*args, **{name: value for name, value in kwargs.items() if name != "generator"})
        return func(*args, **kwargs)


@contextmanager
def meta_device() -> Iterator[None]:
    """Build modules on the device `meta` in the block, without their initial values."""
    with torch.device("meta"), _WithoutValues():
        yield
