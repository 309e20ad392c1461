"""Checks of a dataset: stored content, classes, number of images, duplicates, near-duplicates."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lkca_search.data.catalog import CATALOG
from lkca_search.data.near_duplicates import MAX_SHARE, THRESHOLD, find_most_similar
from lkca_search.data.readers.decoded import DecodedImages, FaultyImagesError, Split, check_same_classes
from lkca_search.data.readers.download_cache import Progress, no_progress
from lkca_search.data.sources import find_source
from lkca_search.data.store import SPLITS, Images, StoredSplit, find_stored, hash_content, open_images
from lkca_search.errors import DataError
from lkca_search.spec.base import FrozenModel


class Position(FrozenModel):
    """Position of an image in a dataset."""

    split: Split
    """Split of the image."""
    row: int
    """Row in the split, from 0."""
    class_name: str
    """Class of the image."""
    file: str | None = None
    """File of the image, with its row if a split has several Parquet files; None if the row is its only place."""


class Duplicate(FrozenModel):
    """Image with the same pixels as an earlier training image."""

    image: Position
    """Position of the later image, in `test` or `train`."""
    first: Position
    """Position of the first image with these pixels, in `train`."""


class NearDuplicate(FrozenModel):
    """Test image that shows nearly the same as a training image, but has other pixels."""

    image: Position
    """Position of the test image."""
    similar: Position
    """Position of the most similar training image."""
    similarity: float
    """Cosine of their descriptors, see `near_duplicates.py`."""


class Check(FrozenModel):
    """Findings of `check_dataset`."""

    dataset: str
    """Name of the dataset as the user wrote it."""
    splits: tuple[StoredSplit, ...]
    """Metadata of the splits that can be read."""
    problems: tuple[str, ...]
    """Errors in the dataset; empty if there are none. Images that cannot be read are left out of all other checks."""
    warnings: tuple[str, ...]
    """Differences from the official dataset that may be intended."""
    duplicates: tuple[Duplicate, ...]
    """Test images that are also in `train`, and repeated training images. Some published datasets have them."""
    num_test: int
    """Number of test images that were compared; 0 if none can be read."""
    num_similar: int
    """Number of test images that are similar to a training image, copies left out."""
    near_duplicates: tuple[NearDuplicate, ...]
    """These images, the most similar first; empty if they are so many that similarity is normal in this dataset."""


def check_splits(train: Images, test: Images) -> None:
    """Raise DataError unless both splits have the same classes and image shape."""
    check_same_classes(train.class_names, test.class_names, train.name)
    if train.shape != test.shape:
        shapes = f"{_shape(train)} in train and {_shape(test)} in test"
        raise DataError(f"train and test must have images of the same height, width and channels, got {shapes}")


def check_dataset(
    dataset: str,
    *,
    cache: Path,
    data_dir: Path | None = None,
    image_size: int | None = None,
    max_pixels: int | None = None,
    progress: Progress = no_progress,
) -> Check:
    """Check both splits; decode them first if needed.

    Raises:
        DataError: The dataset is unknown. Every other fault is listed in the result.
    """
    source = find_source(dataset, data_dir=data_dir, cache=cache, image_size=image_size)
    images_of: dict[Split, Images] = {}
    rows_of: dict[Split, NDArray[np.int64]] = {}
    splits, problems = list[StoredSplit](), list[str]()
    for split in SPLITS:
        try:
            images_of[split] = open_images(
                dataset,
                split,
                cache=cache,
                data_dir=data_dir,
                image_size=image_size,
                max_pixels=max_pixels,
                progress=progress,
            )
        except FaultyImagesError as error:  # the others are compared all the same
            problems.append(f"{split}: {error}")
            images_of[split], rows_of[split] = _as_images(error.intact, dataset), error.rows
        except DataError as error:
            problems.append(f"{split}: {error}")
        else:
            metadata = find_stored(dataset, split, cache=cache, data_dir=data_dir, image_size=image_size)
            assert metadata is not None
            splits.append(metadata)
            problems += _problems(images_of[split], metadata, cache)
    if len(images_of) == len(SPLITS):
        try:
            check_splits(images_of["train"], images_of["test"])
        except DataError as error:
            problems.append(str(error))
    positions = {
        split: _Positions(each, split, source.locate(split), rows_of.get(split)) for split, each in images_of.items()
    }
    duplicates = tuple(_find_duplicates(images_of, positions))
    similar = _find_near_duplicates(images_of, duplicates, positions)
    num_test = len(images_of.get("test", ()))
    return Check(
        dataset=dataset,
        splits=tuple(splits),
        problems=tuple(problems),
        warnings=tuple(warning for metadata in splits for warning in _warnings(metadata)),
        duplicates=duplicates,
        num_test=num_test,
        num_similar=len(similar),
        near_duplicates=similar if len(similar) <= MAX_SHARE * num_test else (),
    )


def _problems(images: Images, stored: StoredSplit, cache: Path) -> Iterator[str]:
    """Yield the errors of one split: damaged content, small classes, or more than the official dataset has."""
    split = stored.split
    if (found := hash_content(images.pixels, images.labels)) != stored.content_hash:
        rule = f"the stored content must have SHA-256 {stored.content_hash}, got {found}"
        yield f"{split}: {rule}; remove the {split} file in {cache} and run `data prepare` again"
    for name, count in zip(stored.class_names, stored.class_counts, strict=True):
        if count < 2 and split == "train":
            rule = f"class {name!r} has {count} training image, and a search needs 2, one to train and one to validate"
            yield f"{split}: {rule}; add images, or remove the class"
    if (entry := CATALOG.get(stored.dataset)) is None:
        return
    if (num_classes := len(stored.class_names)) != entry.num_classes:
        yield f"{split}: {stored.dataset} has {entry.num_classes} classes, got {num_classes}"
    if stored.num_images > (most := entry.num_images(split)):
        yield f"{split}: {stored.dataset} has {most} images, got {stored.num_images}"


def _warnings(stored: StoredSplit) -> Iterator[str]:
    """Yield classes that are easily confused, and differences that are normal for a part of a dataset."""
    by_name: dict[str, list[int]] = {}
    for label, name in enumerate(stored.class_names):
        by_name.setdefault(name.casefold(), []).append(label)
    for labels in by_name.values():
        if len(labels) > 1 and stored.split == "train":  # `test` has the same classes
            names = " and ".join([f"{stored.class_names[label]!r} (label {label})" for label in labels])
            yield f"classes {names} differ in name by case alone, or not at all; they stay separate classes"
    if (entry := CATALOG.get(stored.dataset)) is None:
        return
    if stored.num_images < (official := entry.num_images(stored.split)):
        yield f"{stored.split}: {stored.num_images} of the {official} official images"
    fewest, most = min(stored.class_counts), max(stored.class_counts)
    if entry.balanced and fewest < most:
        yield f"{stored.split}: classes have {fewest} to {most} images, the official classes have equal size"


def _find_duplicates(images_of: Mapping[Split, Images], positions: "Mapping[Split, _Positions]") -> Iterator[Duplicate]:
    first_of: dict[bytes, int] = {}
    for split, images in images_of.items():
        for row, pixels in enumerate(images.pixels):
            digest = hashlib.blake2b(pixels.data, digest_size=16).digest()
            if (first := first_of.get(digest)) is not None:
                yield Duplicate(image=positions[split].of(row), first=positions["train"].of(first))
            elif split == "train":
                first_of[digest] = row


def _find_near_duplicates(
    images_of: Mapping[Split, Images], duplicates: Sequence[Duplicate], positions: "Mapping[Split, _Positions]"
) -> tuple[NearDuplicate, ...]:
    """Return the test images that are similar to a training image, the most similar first, without copies."""
    if len(images_of) < len(SPLITS) or images_of["train"].shape != images_of["test"].shape:
        return ()
    train, test = images_of["train"], images_of["test"]
    rows, similarities = find_most_similar(train.pixels, test.pixels)
    copies = {pair.image.row for pair in duplicates if pair.image.split == "test"}
    order = [int(row) for row in np.argsort(-similarities, kind="stable") if similarities[row] >= THRESHOLD]
    return tuple(
        NearDuplicate(
            image=positions["test"].of(row),
            similar=positions["train"].of(int(rows[row])),
            similarity=float(similarities[row]),
        )
        for row in order
        if positions["test"].of(row).row not in copies
    )


@dataclass(frozen=True)
class _Positions:
    """Positions of the images of a split."""

    images: Images
    split: Split
    locate: Callable[[int], str] | None
    rows: NDArray[np.int64] | None
    """Row in the split of each image; None if they are equal."""

    def of(self, row: int) -> Position:
        name = self.images.class_names[self.images.labels[row]]
        row = row if self.rows is None else int(self.rows[row])
        file = self.locate(row) if self.locate is not None else None
        return Position(split=self.split, row=row, class_name=name, file=file)


def _as_images(intact: DecodedImages, dataset: str) -> Images:
    """Return the intact images of a split that is not stored."""
    return Images(
        name=dataset, pixels=intact.pixels, labels=intact.labels, class_names=intact.class_names, content_hash=""
    )


def _shape(images: Images) -> str:
    return "x".join(str(length) for length in images.shape)
