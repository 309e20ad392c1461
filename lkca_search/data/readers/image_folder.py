"""Reader of image folders `train/CLASS/FILE` and `test/CLASS/FILE`, the layout of torchvision's ImageFolder."""

import errno
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lkca_search.data.readers.decoded import (
    DecodedImages,
    ListedLabels,
    Note,
    Split,
    check_num_classes,
    check_same_classes,
    decode_images,
    normalize_name,
)
from lkca_search.data.readers.image_decoder import DECODING_VERSION, MAX_PIXELS
from lkca_search.data.readers.source_files import check_folder, fingerprint_tree, read_file, show_path
from lkca_search.errors import DataError

SKIPPED = "skipped: hidden, made by a file browser (Thumbs.db, desktop.ini), or outside the class folders"
"""Kind of the note on skipped files."""
_SCRIPT = "section 1 of docs/tutorial.md has the script"
_MAX_SHOWN = 10
"""Maximum number of folders in a message."""
_BROWSER_FILES = frozenset({"thumbs.db", "desktop.ini"})


class ImageFolder:
    """Source that reads every file of every class folder. Hidden files and those of file browsers are skipped.

    The classes are the folders of `train`, sorted by name in Unicode's form NFC. `test` must have the same ones.
    """

    def __init__(
        self, *, name: str, folder: Path, image_size: int | None = None, max_pixels: int | None = None
    ) -> None:
        """Set the folder; DataError if it does not exist, or has no folder `train`."""
        self.name = name
        self.image_size = image_size
        self._max_pixels = max_pixels or MAX_PIXELS
        self._folder = folder
        check_folder(name, folder, is_readable=lambda path: (path / "train").is_dir())
        if not (folder / "train").is_dir():
            rule = "an image folder must have train/CLASS/FILE and test/CLASS/FILE"
            found = ", ".join(sorted(path.name for path in folder.glob("*/"))[:_MAX_SHOWN]) or "no folder"
            raise DataError(
                f"{rule}, got {show_path(found)} in {show_path(folder.absolute())}. If these are classes, split their "
                f"images into train and test first: {_SCRIPT}"
            )

    def fingerprint(self, split: Split) -> str:
        """Return the version of the decoder, the folder, and the `fingerprint_tree` of the split."""
        tree = fingerprint_tree(self._folder / split)
        return f"decoding {DECODING_VERSION}\n{show_path(self._folder.resolve())}\n{tree}"

    def count(self, split: Split) -> int:
        """Return the number of image files of a split. No file is opened."""
        return sum(len(_list_files(folder, [])) for folder in self._find_classes(split, []).values())

    def list_labels(self) -> ListedLabels:
        """Return the labels of `train` by its folders. No file is opened."""
        return _label(self._list_images("train", []))

    def read(self, split: Split) -> DecodedImages:
        """Read and decode every file of a split; DataError with every file that cannot be."""
        skipped: list[Path] = []
        paths_by_class = self._list_images(split, skipped)
        paths = [path for class_paths in paths_by_class.values() for path in class_paths]
        pixels, notes = decode_images(
            lambda row: read_file(paths[row]),
            listed=(listed := _label(paths_by_class)),
            location=lambda row: show_path(paths[row]),
            image_size=self.image_size,
            max_pixels=self._max_pixels,
        )
        if skipped:
            notes = (*notes, Note(kind=SKIPPED, count=len(skipped), first=show_path(min(skipped))))
        return DecodedImages(pixels=pixels, labels=listed.labels, class_names=listed.class_names, notes=notes)

    def locate(self, split: Split) -> Callable[[int], str]:
        """Return a function from the row of an image to the path of its file."""
        paths = [path for class_paths in self._list_images(split, []).values() for path in class_paths]
        return lambda row: show_path(paths[row])

    def check_test_classes(self) -> None:
        """Raise DataError unless `test` has the classes of `train`, with a file in each. No image is opened."""
        self._list_images("test", [])

    def _list_images(self, split: Split, skipped: list[Path]) -> dict[str, list[Path]]:
        """Return the files of each class of a split, sorted by class; add other files to `skipped`."""
        class_names = tuple(self._find_classes("train", []))
        folders = self._find_classes(split, skipped)
        check_same_classes(class_names, tuple(folders), str(self._folder))
        paths_by_class = {name: _list_files(folder, skipped) for name, folder in folders.items()}
        if empty := [str(folders[name]) for name, paths in paths_by_class.items() if not paths]:
            raise DataError(f"every class must have at least one image, found none in {', '.join(empty)}")
        return paths_by_class

    def _find_classes(self, split: Split, skipped: list[Path]) -> dict[str, Path]:
        """Return the folder of each class, sorted by name; add other files to `skipped`."""
        folders: dict[str, Path] = {}
        for path in _list_files(self._folder / split, skipped):
            if path.is_symlink() and not path.exists():
                kind = "itself" if _is_loop(path) else "nothing"
                raise DataError(f"a class must be a folder, got a link to {kind} ({show_path(path)})")
            if not path.is_dir():
                skipped.append(path)
                continue
            if not _is_utf8(path.name):
                rule = "a class must have a name in UTF-8, which is stored with the images"
                raise DataError(f"{rule}, got {show_path(path.name)}: rename the folder ({show_path(path)})")
            first = folders.setdefault(normalize_name(path.name), path)
            if first != path:
                raise DataError(f"classes must have different names in Unicode's form NFC, got {first} and {path}")
        if not folders and split == "test":
            rule = "the test images, which only a confirmation needs, must be in test/CLASS/FILE"
            raise DataError(f"{rule}, found none in {self._folder / split}; to split your images, {_SCRIPT}")
        if not folders:
            raise DataError(f"a split must have a folder per class, found none in {self._folder / split}")
        if split == "train":  # `test` is compared with it
            check_num_classes(folders, f"a folder per class, in {show_path(self._folder / split)}")
        return dict(sorted(folders.items()))


def _label(paths_by_class: Mapping[str, Sequence[Path]]) -> ListedLabels:
    """Return the label of each file: the position of its class."""
    counts = [len(paths) for paths in paths_by_class.values()]
    return ListedLabels(np.repeat(np.arange(len(counts), dtype=np.int64), counts), tuple(paths_by_class))


def _list_files(folder: Path, skipped: list[Path]) -> list[Path]:
    """Return the files and folders in a folder, sorted; add hidden ones and those of file browsers to `skipped`."""
    try:
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise DataError(f"folder cannot be read: {error.strerror} ({show_path(folder)})") from error
    ignored = {path for path in paths if path.name.startswith(".") or path.name.lower() in _BROWSER_FILES}
    skipped += ignored
    return [path for path in paths if path not in ignored]


def _is_loop(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def _is_utf8(name: str) -> bool:
    return show_path(name) == name
