"""Recipe of every training: settings that no space file changes. Training applies them, and the report lists them."""

ADAM_EPSILON = 1e-8
"""Number that AdamW adds to the root of the squared gradients."""
BETA1 = 0.9
"""Decay rate of the average of gradients in AdamW, LAMB and Lion."""
LAMB_EPSILON = 1e-6
"""Number that LAMB adds to the root of the squared gradients."""
FINAL_LEARNING_RATE = 1e-6
"""Learning rate at the end of a decay without `final_lr_fraction`."""
DECAY_FRACTION = 0.2
"""Fraction of the steps in which the learning rate of `warmup_stable_decay` falls (arXiv 2405.18392)."""
CROP_DIVISOR = 8
"""A crop pads each side of an image by the side divided by this number."""
ERASE_CHANCE = 0.5
"""Probability that `erase` draws a box."""
ERASE_AREA = (0.02, 0.33)
"""Smallest and largest box of `erase`, as fractions of the image's area."""
ERASE_ASPECT = (0.3, 3.3)
"""Smallest and largest aspect ratio of a box of `erase`."""
POLICY_GROUP = 4
"""Images per draw of an augmentation policy: torchvision applies one draw to all images of a call."""
COMPILED_STEPS = 20_000
"""Steps from which on `compile: auto` compiles on a GPU. A compilation takes 20 to 60 s, and saves about 2 ms per step
of a small model: 40 s are 20,000 steps. A guess from published figures, not measured here."""
FEW_EPOCHS = 20
"""Epochs below which `plan` warns of short trainings."""
MANY_EPOCHS = 1_000
"""Epochs above which `plan` warns of long trainings. Shipped space files reach it with their fewest images."""


def final_learning_rate(peak: float, fraction: float | None) -> float:
    """Return the learning rate at the end of a schedule that decays; `fraction` is `final_lr_fraction`."""
    return min(FINAL_LEARNING_RATE, peak) if fraction is None else fraction * peak
