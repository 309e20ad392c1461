"""Loading of a kept model for a command: on the device and with the number of threads of its training."""

import torch

from lkca_search.errors import UserError
from lkca_search.inference.model_place import ModelPlace
from lkca_search.own_code import is_dotted
from lkca_search.records.model_description import ModelDescription, read_description
from lkca_search.training.device import configure_torch
from lkca_search.training.trained_model import TrainedModel, load_trained

_MAX_THREADS = 1_024
"""Most threads that a description may set; it may come from elsewhere."""


def load_for_use(
    place: ModelPlace, *, device: str = "auto", num_threads: int | None = None, trusts_code: bool = False
) -> TrainedModel:
    """Load a model as its test has used it, so that its predictions are repeated bit for bit.

    The settings of torch are those of the whole process.

    Args:
        place: Place of the model.
        device: `cpu`, `cuda` or `cuda:N`. `auto` is the kind of device of the training, or the CPU where that is
            missing.
        num_threads: Number of CPU threads; None for that of the training.
        trusts_code: True to import the module of a family of your own. A search of this home is always trusted.

    Raises:
        UserError: As `load_trained`, or this machine has no such device.
    """
    description = read_description(place.folder)
    family = description.configuration.family
    if is_dotted(family) and not (trusts_code or place.search):
        raise UserError(
            f"the model {place.name} has the family {family}, which is code of its own: loading the model imports the "
            f"module {family.rpartition('.')[0]} from your Python path and runs it. If you trust that module, repeat "
            "the command with --trust-own-code"
        )
    threads = num_threads or min(max(description.provenance.num_threads, 1), _MAX_THREADS)
    # `warn` uses the same deterministic operations as `strict`, and fails for none that has no such implementation.
    configure_torch(num_threads=threads, deterministic="warn")
    return load_trained(place.folder, device=find_device(device, description), trust_own_code=True)


def find_device(requested: str, description: ModelDescription) -> torch.device:
    """Return the requested device; UserError if there is no such device."""
    has_gpu = torch.cuda.is_available()
    if requested == "auto":
        return torch.device("cuda", 0) if has_gpu and description.provenance.device != "cpu" else torch.device("cpu")
    try:
        device = torch.device(requested)
    except RuntimeError as error:
        raise UserError(f"device must be auto, cpu, cuda or cuda:N, got {requested}") from error
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device must be auto, cpu, cuda or cuda:N, got {requested}")
    if device.type == "cuda" and not (has_gpu and (device.index or 0) < torch.cuda.device_count()):
        found = torch.cuda.device_count() if has_gpu else "no"
        raise UserError(f"device must be a device of this machine, got {requested}: torch finds {found} GPUs")
    return device
