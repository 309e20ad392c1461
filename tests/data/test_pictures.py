"""Pictures of test images: found by the hash of the split, small, and never decoded or downloaded for a report."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lkca_search.data.pictures import MAX_SIDE, find_test_pictures
from lkca_search.data.store import open_images
from lkca_search.layout import Home


def test_a_picture_has_the_pixels_of_the_image_with_this_index(tmp_path: Path) -> None:
    home = Home(root=tmp_path)
    assert find_test_pictures("a" * 64, [0], home=home) == {}
    images = open_images("digits", "test", cache=home.datasets)
    found = find_test_pictures(images.content_hash, [3, 358, 359], home=home)
    assert list(found) == [3, 358]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(found[358]))), images.pixels[358, :, :, 0])
    open_images("digits", "train", cache=home.datasets)
    assert find_test_pictures("a" * 64, [0], home=home) == {}


def test_a_large_image_is_reduced(tmp_path: Path) -> None:
    home, folder = Home(root=tmp_path), tmp_path / "birds"
    for split in ("train", "test"):
        for name in ("a", "b"):
            (folder / split / name).mkdir(parents=True)
            pixels = np.random.default_rng(0).integers(0, 255, (150, 300, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / split / name / "0.png")
    images = open_images(f"folder:{folder}", "test", cache=home.datasets)
    (png,) = find_test_pictures(images.content_hash, [1], home=home).values()
    assert Image.open(io.BytesIO(png)).size == (MAX_SIDE, MAX_SIDE // 2)


def test_a_damaged_or_unreadable_store_gives_no_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(root=tmp_path)
    images = open_images("digits", "test", cache=home.datasets)
    (path,) = home.datasets.glob("*.arrow")
    path.write_bytes(path.read_bytes()[:100])
    assert find_test_pictures(images.content_hash, [0], home=home) == {}
    monkeypatch.setenv("LKCA_SEARCH_CACHE", str(path))
    assert find_test_pictures(images.content_hash, [0], home=home) == {}
