"""Training and evaluation batches: order, normalization, and the same bytes on every machine."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lkca_search.data.batches import MIN_STD, Batches, Evaluation, count_batches, largest_batch
from lkca_search.data.store import Images, hash_content, open_images
from lkca_search.errors import DataError

CPU = torch.device("cpu")
INDICES = np.arange(3, 703, 7)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return open_images("digits", "train", cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def color_images() -> Images:
    """Return sixty random color images of 16x24 pixels; a crop has other offsets on each axis."""
    pixels = np.random.default_rng(0).integers(1, 256, (60, 16, 24, 3), dtype=np.uint8)
    labels = np.arange(60) % 5
    digest = hash_content(pixels, labels)
    return Images(name="colors", pixels=pixels, labels=labels, class_names=tuple("abcde"), content_hash=digest)


def make(images: Images, **changes: Any) -> Batches:
    options: dict[str, Any] = {"indices": INDICES, "batch_size": 32, "augment": (), "seed": 0, "device": CPU}
    return Batches(images=images, **options | changes)


def to_uint8(batches: Batches, pixels: Tensor) -> np.ndarray[Any, Any]:
    """Undo the normalization: (B, C, H, W) -> (B, H, W, C), 0 to 255."""
    scaled = (pixels.permute(0, 2, 3, 1) * batches.std + batches.mean) * 255
    return scaled.round().to(torch.uint8).numpy()


def epoch(batches: Batches, number: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    for position in range(batches.steps_per_epoch):
        yield batches.train_batch(number * batches.steps_per_epoch + position)


def identical(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


@pytest.mark.parametrize("batch_size", [1, 7, 32, 33, 50, 99, 100, 4000])
@pytest.mark.parametrize("number", [0, 1, 5])
def test_an_epoch_has_every_image_once_with_its_label(digits: Images, batch_size: int, number: int) -> None:
    batches = make(digits, batch_size=batch_size)
    steps = list(epoch(batches, number))
    sizes = [len(labels) for _, labels in steps]
    full = min(batch_size, len(INDICES))
    expected_sizes = [full] * (len(INDICES) // full) + [len(INDICES) % full] * (len(INDICES) % full > 0)
    if full > 1 and expected_sizes[-1] == 1:
        expected_sizes[-2:] = [full + 1]
    assert sizes == expected_sizes
    assert (batches.last_batch, largest_batch(len(INDICES), batch_size)) == (sizes[-1], max(sizes))
    seen = [
        (*image.ravel(), label)
        for pixels, labels in steps
        for image, label in zip(to_uint8(batches, pixels), labels.tolist(), strict=True)
    ]
    expected = [(*digits.pixels[i].ravel(), digits.labels[i]) for i in INDICES]
    assert sorted(seen) == sorted(expected)


@pytest.mark.parametrize("batch_size", [1, 7, 32, 33, 50, 99, 100, 4000])
def test_samples_before_a_step_are_those_of_the_batches_before_it(digits: Images, batch_size: int) -> None:
    batches = make(digits, batch_size=batch_size)
    seen = 0
    for step in range(2 * batches.steps_per_epoch + 2):
        assert batches.samples_before(step) == seen
        seen += len(batches.train_batch(step)[1])


@pytest.mark.parametrize("batch_size", [50, 25, 10])
def test_a_single_image_left_over_joins_the_batch_before_it(digits: Images, batch_size: int) -> None:
    batches = make(digits, indices=np.arange(1151), batch_size=batch_size)
    sizes = [len(labels) for _, labels in epoch(batches)]
    assert sizes == [batch_size] * (1150 // batch_size - 1) + [batch_size + 1]


@given(num_images=st.integers(2, 5000), batch_size=st.integers(2, 5000))
def test_no_batch_has_one_image_unless_the_batch_size_is_one(num_images: int, batch_size: int) -> None:
    count, size = count_batches(num_images, batch_size), min(batch_size, num_images)
    last = num_images - (count - 1) * size
    assert 2 <= last <= size + 1
    left = num_images % size
    # Batches of every subset whose last batch has two images or more are those of earlier versions.
    assert left == 1 or count == -(-num_images // size)


def test_a_batch_is_float32_with_int64_labels(color_images: Images) -> None:
    pixels, labels = make(color_images, indices=np.arange(60), augment=("crop", "flip")).train_batch(0)
    assert (pixels.shape, pixels.dtype, pixels.is_contiguous()) == ((32, 3, 16, 24), torch.float32, True)
    assert (labels.shape, labels.dtype) == ((32,), torch.int64)


@pytest.mark.parametrize("augment", [(), ("crop",), ("flip",), ("crop", "flip")])
def test_a_batch_depends_on_seed_and_step_alone(digits: Images, augment: tuple[str, ...]) -> None:
    steps = list(range(20))
    batches = make(digits, augment=augment)
    in_order = [batches.train_batch(step) for step in steps]
    for step in [13, 2, 19, 0, 0, 7]:
        assert identical(batches.train_batch(step), in_order[step])
        assert identical(make(digits, augment=augment).train_batch(step), in_order[step])


@pytest.mark.parametrize("augment", [(), ("crop",), ("flip",), ("crop", "flip")])
def test_the_number_of_threads_changes_nothing(digits: Images, augment: tuple[str, ...]) -> None:
    threads = torch.get_num_threads()
    made = []
    try:
        for number in (1, 4):
            torch.set_num_threads(number)
            batches = make(digits, indices=np.arange(1400), batch_size=512, augment=augment)
            made.append([(batches.mean, batches.std), *epoch(batches)])
    finally:
        torch.set_num_threads(threads)
    assert all(identical(one, other) for one, other in zip(*made, strict=True))


def test_the_global_generator_is_neither_used_nor_changed(digits: Images) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = make(digits, augment=("crop", "flip")).train_batch(5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert identical(make(digits, augment=("crop", "flip")).train_batch(5), first)


def test_another_seed_or_epoch_gives_another_order(digits: Images) -> None:
    batches = make(digits, batch_size=100)
    orders = [
        batches.train_batch(0)[0],
        batches.train_batch(1)[0],
        make(digits, batch_size=100, seed=1).train_batch(0)[0],
    ]
    assert not any(torch.equal(orders[i], orders[j]) for i, j in [(0, 1), (0, 2), (1, 2)])


@pytest.mark.parametrize("augment", ["crop", "flip"])
def test_another_seed_or_step_gives_another_augmentation(color_images: Images, augment: str) -> None:
    alone = {"indices": np.array([7]), "augment": (augment,)}
    images = [make(color_images, seed=seed, **alone).train_batch(step)[0] for seed in range(4) for step in range(16)]
    assert len({image.numpy().tobytes() for image in images[:16]}) > 1
    assert len({image.numpy().tobytes() for image in images[::16]}) > 1


def _windows(image: np.ndarray[Any, Any], crop: bool, flip: bool) -> list[bytes]:
    """Return every image that the augmentation may give, by a loop: (H, W, C) -> bytes of (H, W, C)."""
    height, width, _ = image.shape
    pad_y, pad_x = (height // 8, width // 8) if crop else (0, 0)
    padded = np.pad(image, ((pad_y, pad_y), (pad_x, pad_x), (0, 0)))
    found = []
    for mirrored in (False, True) if flip else (False,):
        for top in range(2 * pad_y + 1):
            for left in range(2 * pad_x + 1):
                window = padded[top : top + height, left : left + width]
                found.append((window[:, ::-1] if mirrored else window).tobytes())
    return found


@pytest.mark.parametrize(("crop", "flip"), [(False, False), (True, False), (False, True), (True, True)])
def test_augmented_images_equal_the_windows_of_a_loop_over_single_images(
    color_images: Images, crop: bool, flip: bool
) -> None:
    augment = ("crop",) * crop + ("flip",) * flip
    batches = make(color_images, indices=np.arange(60), batch_size=60, augment=augment)
    unaugmented = make(color_images, indices=np.arange(60), batch_size=60)
    counts = np.zeros(len(_windows(color_images.pixels[0], crop, flip)))
    for step in range(50):
        plain = to_uint8(unaugmented, unaugmented.train_batch(step)[0])
        for original, image in zip(plain, to_uint8(batches, batches.train_batch(step)[0]), strict=True):
            counts[_windows(original, crop, flip).index(image.tobytes())] += 1
    expected = counts.sum() / len(counts)
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_a_small_image_is_padded_by_at_least_one_pixel(color_images: Images) -> None:
    pixels = np.full((1, 4, 5, 1), 200, np.uint8)
    labels = np.zeros(1, np.int64)
    images = Images(name="small", pixels=pixels, labels=labels, class_names=("a",), content_hash="")
    batches = make(images, indices=np.arange(1), augment=("crop",))
    seen = {to_uint8(batches, batches.train_batch(step)[0]).tobytes() for step in range(100)}
    assert len(seen) == 9


def test_training_images_have_mean_0_and_deviation_1_in_every_channel(color_images: Images) -> None:
    batches = make(color_images, indices=np.arange(0, 60, 3), batch_size=20)
    pixels, _ = batches.train_batch(0)
    scaled = color_images.pixels[::3].astype(np.float64) / 255
    np.testing.assert_allclose(batches.mean, scaled.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(batches.std, scaled.std((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(pixels.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(pixels.std((0, 2, 3), correction=0), 1, atol=1e-5)


def test_the_statistics_are_those_of_the_subset_and_not_of_the_split(digits: Images) -> None:
    one, other = make(digits, indices=np.arange(20)), make(digits, indices=np.arange(20, 40))
    assert not torch.equal(one.mean, other.mean)


def test_a_constant_channel_stays_finite() -> None:
    pixels = np.full((4, 8, 8, 1), 77, np.uint8)
    images = Images(name="flat", pixels=pixels, labels=np.arange(4), class_names=tuple("abcd"), content_hash="")
    batches = make(images, indices=np.arange(4))
    assert batches.std.item() == pytest.approx(MIN_STD)
    np.testing.assert_allclose(batches.train_batch(0)[0], 0, atol=1e-4)


def test_padding_is_black_and_not_the_mean(digits: Images) -> None:
    batches = make(digits, augment=("crop",), batch_size=100)
    darkest = (-batches.mean / batches.std).item()
    assert batches.train_batch(0)[0].min().item() == pytest.approx(darkest, rel=1e-6)
    white = Images(name="w", pixels=np.full((50, 8, 8, 1), 255, np.uint8), labels=np.zeros(50, np.int64),
                   class_names=("a",), content_hash="")  # fmt: skip
    batches = make(white, indices=np.arange(50), augment=("crop",), batch_size=50)
    assert set(to_uint8(batches, batches.train_batch(0)[0]).ravel()) == {0, 255}


@pytest.mark.parametrize("batch_size", [1, 30, 100, 4000])
def test_evaluation_has_every_image_in_order_in_every_iteration(digits: Images, batch_size: int) -> None:
    batches = make(digits)
    held_out = np.arange(700, 800)
    evaluation = Evaluation(
        images=digits, indices=held_out, mean=batches.mean, std=batches.std, batch_size=batch_size, device=CPU
    )
    assert evaluation.num_images == 100
    for _ in range(2):
        steps = list(evaluation)
        assert all(len(labels) == batch_size for _, labels in steps[:-1])
        pixels = np.concatenate([to_uint8(batches, images) for images, _ in steps])
        np.testing.assert_array_equal(pixels, digits.pixels[held_out])
        np.testing.assert_array_equal(torch.cat([labels for _, labels in steps]), digits.labels[held_out])


def test_training_and_evaluation_normalize_the_same_way(digits: Images) -> None:
    batches = make(digits, indices=np.array([9]))
    evaluation = Evaluation(
        images=digits, indices=np.array([9]), mean=batches.mean, std=batches.std, batch_size=4, device=CPU
    )
    assert identical(next(iter(evaluation)), batches.train_batch(0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augment": ("crop", "flop")}, r"augment must have names among crop, .*, mixup, or a set: .*; got 'flop'"),
        ({"batch_size": 0}, "must have at least one image, got batch_size 0 and 100 images"),
        ({"indices": np.arange(0)}, "must have at least one image, got batch_size 32 and 0 images"),
    ],
)
def test_invalid_batches_are_refused(digits: Images, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(digits, **changes)


DIGESTS = {
    (): "bb13cefcdb6f05ffd05e7210c577d6f173e8d04d97995152d3d799d8386b0212",
    ("crop",): "1a53c19223aa8983934a3c54c57995483be24a2b2cee9d1a605ed81e972dc7fd",
    ("flip",): "1e3db66ef1dbe96ae71addba94d67cfa86bfd4f3896a8ff83011e530bfc5a08d",
    ("crop", "flip"): "aef91b9bb55f958341d7804c7010c05139b522fe262f6a66d1fe66517d8b81ea",
}


@pytest.mark.parametrize("augment", DIGESTS, ids="-".join)
def test_batches_are_the_same_on_every_machine_and_do_not_change(
    color_images: Images, augment: tuple[str, ...]
) -> None:
    batches = make(color_images, indices=np.arange(0, 60, 2), batch_size=8, augment=augment, seed=11)
    digest = hashlib.sha256()
    for step in range(9):
        pixels, labels = batches.train_batch(step)
        digest.update(to_uint8(batches, pixels).tobytes())
        digest.update(labels.numpy().astype("<i8").tobytes())
    assert digest.hexdigest() == DIGESTS[augment]


def test_images_mapped_from_the_store_are_not_changed(tmp_path: Path, digits: Images) -> None:
    batches = make(digits, augment=("crop", "flip"))
    for step in range(8):
        pixels, labels = batches.train_batch(step)
        pixels.zero_()
        labels.zero_()
    assert digits.content_hash == hash_content(digits.pixels, digits.labels)
    assert identical(batches.train_batch(0), make(digits, augment=("crop", "flip")).train_batch(0))
