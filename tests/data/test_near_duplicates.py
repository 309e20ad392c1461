"""Near-duplicates between test and training images."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from lkca_search.data.check import check_dataset
from lkca_search.data.near_duplicates import MAX_SHARE, THRESHOLD, find_most_similar
from lkca_search.data.store import open_images

DATA_DIR = Path(os.environ["LKCA_DATA_DIR"]) if "LKCA_DATA_DIR" in os.environ else None
NUM_TRAIN = 400


def scenes(count: int, *, seed: int, channels: int = 3) -> NDArray[np.uint8]:
    """Return random images, (N, 40, 40, C), with the spectrum of natural ones: amplitude falls as 1 / frequency.

    As in natural images, channels differ little from their mean.
    """
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(40), np.fft.fftfreq(40)))
    frequency[0, 0] = np.inf
    noise = rng.normal(size=(count, 1, 40, 40)) + 0.3 * rng.normal(size=(count, channels, 40, 40))
    spectrum = np.fft.fft2(noise) / frequency
    images = np.fft.ifft2(spectrum).real.transpose(0, 2, 3, 1)
    images = (images - images.min((1, 2, 3), keepdims=True)) / np.ptp(images, axis=(1, 2, 3)).reshape(-1, 1, 1, 1)
    return (255 * images).astype(np.uint8)


TRAIN = scenes(NUM_TRAIN, seed=0)[:, 4:36, 4:36]
SOURCE = scenes(NUM_TRAIN, seed=0)[7]


def window(row: int, column: int) -> NDArray[np.uint8]:
    return SOURCE[row : row + 32, column : column + 32]


def recompress(image: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    Image.fromarray(image).save(path / "image.jpg", quality=75)
    return np.asarray(Image.open(path / "image.jpg"))


def test_another_version_of_a_training_image_is_a_near_duplicate(tmp_path: Path) -> None:
    image = window(4, 4)
    noise = np.random.default_rng(0).normal(0, 6, image.shape)
    versions = {
        "mirrored": image[:, ::-1],
        "moved by one pixel": window(5, 4),
        "compressed": recompress(image, tmp_path),
        "brighter": np.asarray(ImageEnhance.Brightness(Image.fromarray(image)).enhance(1.1)),
        "less contrast": np.asarray(ImageEnhance.Contrast(Image.fromarray(image)).enhance(0.6)),
        "with noise": np.clip(image + noise, 0, 255).astype(np.uint8),
    }
    rows, similarities = find_most_similar(TRAIN, np.stack(list(versions.values())))
    assert rows.tolist() == [7] * len(versions)
    found = dict(zip(versions, similarities.tolist(), strict=True))
    assert min(found.values()) >= THRESHOLD, found


@pytest.mark.parametrize("channels", [1, 3])
def test_another_image_is_no_near_duplicate(channels: int) -> None:
    train, test = (scenes(count, seed=seed, channels=channels)[:, :32, :32] for count, seed in ((2000, 1), (500, 2)))
    _, similarities = find_most_similar(train, test)
    assert similarities.max() < THRESHOLD


def test_images_of_one_color_resemble_nothing() -> None:
    flat = np.full((3, 32, 32, 3), 80, np.uint8)
    _, similarities = find_most_similar(np.concatenate([flat, TRAIN[:5]]), flat)
    assert similarities.tolist() == pytest.approx([0, 0, 0], abs=0.01)


def test_the_most_similar_image_does_not_depend_on_the_number_of_images_per_chunk() -> None:
    test = scenes(1100, seed=3)[:, :32, :32]
    rows, similarities = find_most_similar(TRAIN, test)
    few_rows, few = find_most_similar(TRAIN, test[1020:1030])
    np.testing.assert_array_equal(rows[1020:1030], few_rows)
    np.testing.assert_allclose(similarities[1020:1030], few, atol=1e-5)


def test_digits_are_alike_by_nature_and_none_is_named(tmp_path: Path) -> None:
    found = check_dataset("digits", cache=tmp_path)
    assert found.num_similar > MAX_SHARE * 359
    assert found.near_duplicates == ()


@pytest.mark.skipif(DATA_DIR is None or not (DATA_DIR / "cifar10").is_dir(), reason="needs LKCA_DATA_DIR")
def test_the_count_on_cifar_10_is_near_that_of_ciFAIR(tmp_path: Path) -> None:
    """132 of the 286 pairs that ciFAIR lists have their training image among the first 20,000 or so."""
    train, test = (open_images("cifar10", split, cache=tmp_path, data_dir=DATA_DIR) for split in ("train", "test"))
    if len(train) != 20_000:
        pytest.skip("needs the first 20,000 training images")
    rows, similarities = find_most_similar(train.pixels, test.pixels)
    found = similarities >= THRESHOLD
    assert 130 <= found.sum() <= 160
    assert (train.labels[rows] == test.labels)[found].mean() > 0.98
