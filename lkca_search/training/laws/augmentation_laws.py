"""Laws of an augmentation of your own, on images of the dataset: type, shape, and randomness by the seed alone."""

import torch
from torch import Tensor

from lkca_search.data.own_augmentation import OwnAugmentation, OwnAugmentationError
from lkca_search.errors import UserError
from lkca_search.training.laws.model_laws import BrokenLaw

_NUM_STEPS = 3


def check_augmentation(name: str, pixels: Tensor) -> None:
    """Check an augmentation on a batch, uint8 (B, C, H, W), in several steps.

    Raises:
        BrokenLaw: A law is broken.
    """
    try:
        augmentation, other = OwnAugmentation(name), OwnAugmentation(name)
        for seed in range(_NUM_STEPS):
            first = augmentation(pixels.clone(), seed=seed)
            again = augmentation(pixels.clone(), seed=seed)
            resumed = other(pixels.clone(), seed=seed)  # it has not run the steps before
            if not torch.equal(first, again) or not torch.equal(first, resumed):
                raise BrokenLaw(
                    f"augment {name} must be a function of the batch and the seed alone, got two results for one seed: "
                    "draw from the argument `generator` or torch's global generator, and keep no state between calls"
                )
    except (OwnAugmentationError, UserError) as error:
        raise BrokenLaw(str(error)) from error
