"""Whose fault an error is: the trial's own, or the machine's, on which another attempt may go well."""

import torch

_OF_THE_MACHINE = (OSError, MemoryError, torch.OutOfMemoryError)
_NO_MEMORY = "can't allocate memory"
"""What torch says in a plain RuntimeError where the CPU has none left."""


def is_of_the_machine(error: BaseException) -> bool:
    """Whether disk or memory gave out: an error of the system, of a GPU's memory, or of torch's own allocator."""
    return isinstance(error, _OF_THE_MACHINE) or (isinstance(error, RuntimeError) and _NO_MEMORY in str(error))
