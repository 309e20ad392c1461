"""Effect of each augmentation on a batch. A common test shows that it depends on (seed, step) alone."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lkca_search.augmentations import Augmentation, augment_rule
from lkca_search.data.augmentation import Augment, cutmix, mixup
from lkca_search.data.batches import Batches
from lkca_search.data.store import Images
from lkca_search.errors import DataError
from lkca_search.recipe import POLICY_GROUP
from lkca_search.spec.sections import DataSection

NAMES = get_args(Augmentation)
EVERYTHING = ("crop_reflect", "flip", "trivial_augment", "erase", "cutmix", "mixup")
AUGMENTS = [*((name,) for name in NAMES), EVERYTHING]
ANY = pytest.mark.parametrize("augment", AUGMENTS, ids="-".join)


def random_images(channels: int, count: int = 48) -> Images:
    """Return random images of 16x24 pixels in five classes."""
    pixels = np.random.default_rng(0).integers(1, 256, (count, 16, 24, channels), dtype=np.uint8)
    return Images(name="made", pixels=pixels, labels=np.arange(count) % 5, class_names=tuple("abcde"), content_hash="")


def make(augment: Sequence[str], *, channels: int = 3, count: int = 48, **changes: Any) -> Batches:
    options: dict[str, Any] = {"indices": np.arange(count), "batch_size": count, "seed": 0}
    options |= {"device": torch.device("cpu"), "augment": augment}
    return Batches(images=random_images(channels, count), **options | changes)


def identical(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distort(augment: Sequence[Any], pixels: Tensor, *, seed: int = 0, step: int = 0) -> Tensor:
    gray = torch.full((pixels.shape[1],), 99, dtype=torch.uint8)
    return Augment(augment, seed=seed, num_classes=5, gray=gray).distort(pixels, step)


@ANY
@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_keeps_its_shape_and_depends_on_seed_and_step_alone(augment: tuple[str, ...], channels: int) -> None:
    steps = list(range(8))
    batches = make(augment, channels=channels)
    in_order = [batches.train_batch(step) for step in steps]
    for images, labels in in_order:
        assert (images.shape, images.dtype, images.is_contiguous()) == ((48, channels, 16, 24), torch.float32, True)
        assert torch.isfinite(images).all()
        assert len(labels) == 48
    torch.manual_seed(1234)
    for step in (5, 0, 7):
        assert identical(make(augment, channels=channels).train_batch(step), in_order[step])
    assert not torch.equal(make(augment, channels=channels, seed=1).train_batch(3)[0], in_order[3][0])


@ANY
def test_the_number_of_threads_changes_nothing(augment: tuple[str, ...]) -> None:
    threads = torch.get_num_threads()
    made = []
    try:
        for number in (1, 4):
            torch.set_num_threads(number)
            batches = make(augment, count=600, batch_size=500)
            made.append([batches.train_batch(step) for step in range(3)])
    finally:
        torch.set_num_threads(threads)
    assert all(identical(one, other) for one, other in zip(*made, strict=True))


@ANY
def test_a_batch_does_not_change_the_global_random_state(augment: tuple[str, ...]) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    make(augment).train_batch(5)
    assert torch.equal(torch.get_rng_state(), before)


@ANY
def test_augmentation_changes_from_step_to_step(augment: tuple[Augmentation, ...]) -> None:
    pixels = torch.from_numpy(random_images(3).pixels).permute(0, 3, 1, 2).contiguous()
    made = Augment(augment, seed=0, num_classes=5, gray=torch.zeros(3, dtype=torch.uint8))
    labels = torch.arange(48) % 5
    augmented = [made.mix(made.distort(pixels, step).float(), labels, step)[0] for step in range(8)]
    assert all(not torch.equal(one, other) for one, other in combinations(augmented, 2))


@pytest.mark.parametrize("augment", [(name,) for name in NAMES if name not in ("cutmix", "mixup")])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (8, 8)])
def test_images_of_any_size_stay_uint8_until_they_are_normalized(
    augment: tuple[str, ...], size: tuple[int, int]
) -> None:
    pixels = torch.randint(0, 256, (5, 1, *size), dtype=torch.uint8, generator=generator())
    before = pixels.clone()
    augmented = distort(augment, pixels)
    assert (augmented.shape, augmented.dtype) == (pixels.shape, torch.uint8)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("crop", ["crop", "crop_reflect"])
def test_flip_mirrors_the_same_images_with_and_without_a_crop(crop: str) -> None:
    pixels = torch.arange(40 * 8 * 8).remainder(251).to(torch.uint8).view(40, 1, 8, 8)
    mirrored = (distort(["flip"], pixels) != pixels).flatten(1).any(1)
    assert 0 < mirrored.sum() < 40
    cropped, both = distort([crop], pixels), distort([crop, "flip"], pixels)
    assert torch.equal((both != cropped).flatten(1).any(1), mirrored)
    assert torch.equal(both[mirrored], cropped[mirrored].flip(3))


def test_a_reflecting_crop_is_a_window_of_the_reflected_image() -> None:
    pixels = torch.randint(1, 256, (50, 2, 16, 24), dtype=torch.uint8, generator=generator())
    padded = F.pad(pixels.float(), (3, 3, 2, 2), mode="reflect").to(torch.uint8)
    for image, frame in zip(distort(["crop_reflect"], pixels), padded, strict=True):
        windows = frame.unfold(1, 16, 1).unfold(2, 24, 1).permute(1, 2, 0, 3, 4)  # (tops, lefts, C, H, W)
        assert (windows == image).flatten(2).all(2).any()


def test_erasing_grays_one_box_in_half_of_the_images() -> None:
    pixels = torch.zeros(4000, 3, 20, 30, dtype=torch.uint8)
    erased = distort(["erase"], pixels) == 99
    assert torch.equal(erased.all(1), erased.any(1))
    found = erased[:, 0]
    touched = found.flatten(1).any(1)
    assert abs(int(touched.sum()) - 2000) < 5 * (4000 * 0.25) ** 0.5
    sides = [found.any(2)[touched].sum(1), found.any(1)[touched].sum(1)]  # height, width
    areas = found[touched].flatten(1).sum(1)
    assert torch.equal(sides[0] * sides[1], areas)
    shares = areas / 600
    assert 0.01 < shares.min() < 0.03
    assert 0.28 < shares.max() < 0.36
    assert {int(side.max()) for side in sides} <= {20, *range(23, 27)}
    hits = found[touched].float().mean(0)
    assert hits.min() > 0  # every pixel can be taken


def test_erased_boxes_have_the_mean_of_the_subset() -> None:
    batches = make(["erase"])
    plain, erased = make([]).train_batch(0)[0], batches.train_batch(0)[0]
    changed = (plain != erased).all(1, keepdim=True).expand_as(plain)
    assert changed.any()
    assert erased[changed].abs().max() < 0.5 / 255 / float(batches.std.min()) + 1e-6


@pytest.mark.parametrize("policy", ["trivial_augment", "rand_augment"])
def test_a_policy_draws_new_operations_for_every_few_images(policy: str) -> None:
    image = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8, generator=generator())
    augmented = distort([policy], image.expand(12 * POLICY_GROUP, -1, -1, -1))
    groups = augmented.view(12, POLICY_GROUP, -1)
    assert (groups == groups[:, :1]).all()
    assert len({group[0].numpy().tobytes() for group in groups}) > 4


def one_hot(labels: Sequence[int]) -> Tensor:
    return torch.eye(4)[list(labels)]


def test_mixup_has_equal_weights_for_images_and_labels() -> None:
    images = torch.eye(4).view(4, 1, 2, 2)  # of image i, pixel i alone is 1: its pixels are its shares
    shares = []
    for seed in range(200):
        mixed, labels = mixup(images, one_hot(range(4)), generator=generator(seed))
        torch.testing.assert_close(mixed.flatten(1), labels)
        torch.testing.assert_close(labels.sum(1), torch.ones(4))
        shares.append(float(labels.diagonal().min()))
    assert min(shares) < 0.1 < 0.9 < max(shares)


def test_cutmix_replaces_one_box_and_weights_labels_by_its_area() -> None:
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 8, 10).contiguous()
    before = images.clone()
    areas = []
    for seed in range(200):
        mixed, labels = cutmix(images, one_hot(range(4)), generator=generator(seed))
        assert torch.equal(images, before)
        foreign = mixed != images
        assert torch.equal(foreign.all(1), foreign.any(1))
        for own in range(4):
            counts = torch.stack([(mixed[own, 0] == other).sum() for other in range(4)])
            torch.testing.assert_close(counts / 80, labels[own])
            box = foreign[own, 0]
            assert int(box.sum()) == int(box.any(0).sum()) * int(box.any(1).sum())
        areas.append(int(foreign[:, 0].flatten(1).sum(1).max()))
    assert min(areas) < 8
    assert max(areas) > 40


def test_a_single_image_is_mixed_with_itself() -> None:
    for name in ("mixup", "cutmix"):
        images, labels = make([name], count=1).train_batch(0)
        torch.testing.assert_close(images, make([], count=1).train_batch(0)[0])
        torch.testing.assert_close(labels, torch.eye(5)[:1])


def test_mixup_or_cutmix_is_chosen_at_random_per_step_if_both_are_set() -> None:
    plain = [make([]).train_batch(step)[0] for step in range(40)]
    mixed = [make(["cutmix", "mixup"]).train_batch(step)[0] for step in range(40)]
    # Cutmix changes no pixel outside its box. Mixup leaves a pixel unchanged by accident only.
    left = [(one == other).flatten(1).float().mean(1).median() for one, other in zip(plain, mixed, strict=True)]
    assert 8 < sum(share > 0.05 for share in left) < 32


def test_mixed_labels_are_probabilities_that_the_loss_accepts() -> None:
    for name in ("mixup", "cutmix"):
        _, labels = make([name]).train_batch(0)
        assert (labels.shape, labels.dtype) == ((48, 5), torch.float32)
        torch.testing.assert_close(labels.sum(1), torch.ones(48))
    logits, hard = torch.randn(48, 5, generator=generator()), make([]).train_batch(0)[1]
    for smoothing in (0.0, 0.1):
        expected = F.cross_entropy(logits, hard, label_smoothing=smoothing)
        torch.testing.assert_close(F.cross_entropy(logits, torch.eye(5)[hard], label_smoothing=smoothing), expected)


REFUSED = [
    (("flop", "crop", "blur"), r"augment must have names among crop, .*; got 'flop'; did you mean flip\?"),
    (("flip", "crop", "flip"), "must name each augmentation once"),
    (("crop", "crop_reflect"), "one of crop and crop_reflect, got both"),
    (("rand_augment", "flip", "trivial_augment"), "one of trivial_augment and rand_augment, got both"),
]


@pytest.mark.parametrize(("names", "message"), REFUSED)
def test_augmentations_that_exclude_each_other_are_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(names)


@ANY
def test_the_order_of_the_names_does_not_matter(augment: tuple[str, ...]) -> None:
    assert augment_rule(augment) is None
    assert DataSection.model_validate({"dataset": "made", "augment": augment[::-1]})
    assert identical(make(augment).train_batch(2), make(augment[::-1]).train_batch(2))
