"""Hash of final weights in a record, by which a rerun proves that it has trained the same model bit for bit.

A record has it whether the model is kept or not. For a kept model it is the SHA-256 of its file of weights, so that a
record and a file that belong together can be told from others.
"""

from torch import nn

from lkca_search.errors import UserError
from lkca_search.records.model_description import hash_weights
from lkca_search.training.trained_model import to_safetensors


def weights_hash(module: nn.Module) -> str | None:
    """Return the SHA-256 of the file of weights that a model would have.

    Args:
        module: Trained model. Its device does not matter.

    Returns:
        The hash; None if the model, one of your own, has a state that no file of weights can hold.
    """
    try:
        return hash_weights(to_safetensors(module))
    except UserError:
        return None
