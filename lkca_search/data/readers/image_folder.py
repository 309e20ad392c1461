"""Reader of image folders `train/CLASS/FILE` and `test/CLASS/FILE`, the layout of torchvision's ImageFolder."""

import hashlib
import os
from pathlib import Path

import numpy as np

from lkca_search.data.readers.decoded import DecodedImages, Split, decode_images
from lkca_search.errors import DataError


class ImageFolder:
    """Source that reads every file of every class folder, except names that start with a dot.

    The classes are the folders of `train`, sorted by name. `test` must have the same ones.
    """

    def __init__(self, *, name: str, folder: Path, image_size: int | None = None) -> None:
        """Set the folder; DataError if it has no folder `train`."""
        self.name = name
        self.image_size = image_size
        self._folder = folder
        if not (folder / "train").is_dir():
            raise DataError(f"an image folder must contain train/CLASS/FILE, found no folder {folder / 'train'}")

    def fingerprint(self, split: Split) -> str:
        """Return the folder and the `fingerprint_tree` of the split."""
        return f"{self._folder.resolve()}\n{fingerprint_tree(self._folder / split)}"

    def read(self, split: Split) -> DecodedImages:
        """Read and decode every file of a split; DataError with the first faulty file."""
        class_names = self._classes("train")
        if (split_classes := self._classes(split)) != class_names:
            raise DataError(
                f"train and test must have the same classes, got only in train: "
                f"{', '.join(sorted({*class_names} - {*split_classes})) or 'none'}; only in {split}: "
                f"{', '.join(sorted({*split_classes} - {*class_names})) or 'none'} ({self._folder})"
            )
        paths_by_class = [visible_files(self._folder / split / name) for name in class_names]
        for name, class_paths in zip(class_names, paths_by_class, strict=True):
            if not class_paths:
                raise DataError(
                    f"every class must have at least one image, found none in {self._folder / split / name}"
                )
        paths = [path for class_paths in paths_by_class for path in class_paths]
        pixels, num_converted = decode_images(
            (path.read_bytes() for path in paths),
            num_images=len(paths),
            location=lambda row: str(paths[row]),
            image_size=self.image_size,
        )
        labels = np.repeat(
            np.arange(len(class_names), dtype=np.int64), [len(class_paths) for class_paths in paths_by_class]
        )
        return DecodedImages(pixels=pixels, labels=labels, class_names=class_names, num_converted=num_converted)

    def _classes(self, split: Split) -> tuple[str, ...]:
        folder = self._folder / split
        paths = folder.iterdir() if folder.is_dir() else ()
        names = sorted(path.name for path in paths if path.is_dir() and not path.name.startswith("."))
        if not names:
            raise DataError(f"a split must have a folder per class, found none in {folder}")
        return tuple(names)


def visible_files(folder: Path) -> list[Path]:
    """Return the files of a folder, sorted, except names that start with a dot."""
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def fingerprint_tree(folder: Path) -> str:
    """Return the number of files below a folder, and a hash of their names, sizes and modification times."""
    lines = []
    for parent, _, names in os.walk(folder, followlinks=True):
        stats = ((f"{parent}/{name}", os.stat(f"{parent}/{name}")) for name in names)
        lines += [f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats]
    return f"{len(lines)} files {hashlib.sha256(chr(10).join(sorted(lines)).encode()).hexdigest()}"
