"""Reader of Tiny-ImageNet's official archive `tiny-imagenet-200.zip`, or of its unpacked folder."""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lkca_search.data.readers.decoded import DecodedImages, ListedLabels, Split, decode_images
from lkca_search.data.readers.download_cache import DownloadCache, OfficialFile
from lkca_search.data.readers.image_decoder import DECODING_VERSION
from lkca_search.data.readers.source_files import fingerprint_tree, read_file
from lkca_search.errors import DataError

ARCHIVE = OfficialFile(
    name="tiny-imagenet-200.zip",
    urls=["http://cs231n.stanford.edu/tiny-imagenet-200.zip"],
    md5="90528d7ca1a48142e341f4ef8d21d0de",
)
_FOLDER = "tiny-imagenet-200"
_ANNOTATIONS = "val/val_annotations.txt"

_Read = Callable[[str], bytes]
"""Function that returns the content of a file below `tiny-imagenet-200`."""


def identify_tiny_imagenet(downloads: DownloadCache) -> str:
    """Return the MD5 of the archive, or the fingerprint of the unpacked folder, which has no checksum."""
    folder = downloads.find(_FOLDER)
    if folder is None:
        return f"MD5 {ARCHIVE.md5}"
    return f"decoding {DECODING_VERSION}\n{folder}\n{fingerprint_tree(folder)}"


def read_tiny_imagenet(split: Split, downloads: DownloadCache) -> DecodedImages:
    """Read a split: pixels (N, 64, 64, 3). `test` is the official validation set, since test labels are not public.

    Labels follow the sorted WordNet ids, as in torchvision's ImageFolder. A class name is the first word of its id.
    """
    with _open_files(downloads) as (location, names, read):
        ids = sorted(read("wnids.txt").decode().split())
        words = dict(line.split("\t") for line in read("words.txt").decode().splitlines())
        images = _train_images(names) if split == "train" else _validation_images(read)
        label_of = {wordnet_id: label for label, wordnet_id in enumerate(ids)}
        if unknown := sorted({wordnet_id for _, wordnet_id in images} - {*ids}):
            raise DataError(f"every class must be listed in wnids.txt, got {', '.join(unknown)} ({location})")
        labels = np.array([label_of[wordnet_id] for _, wordnet_id in images], np.int64)
        if missing := [ids[label] for label in np.flatnonzero(np.bincount(labels, minlength=len(ids)) == 0)]:
            raise DataError(f"every class must have images, the {split} split has none of {', '.join(missing)}")
        class_names = tuple(words[wordnet_id].split(",")[0] for wordnet_id in ids)
        pixels, notes = decode_images(
            lambda row: read(images[row][0]),
            listed=ListedLabels(labels, class_names),
            location=lambda row: f"{location}, {images[row][0]}",
        )
    return DecodedImages(pixels=pixels, labels=labels, class_names=class_names, notes=notes)


def _train_images(names: list[str]) -> list[tuple[str, str]]:
    """Return path and WordNet id of every `train/WNID/images/FILE`."""
    parts = [(name, name.split("/")) for name in sorted(names)]
    return [(name, part[1]) for name, part in parts if part[::2] == ["train", "images"] and len(part) == 4]


def _validation_images(read: _Read) -> list[tuple[str, str]]:
    """Return path and WordNet id of every line of the annotations: FILE, WNID, four numbers of a box."""
    lines = [line.split("\t") for line in read(_ANNOTATIONS).decode().splitlines()]
    return [(f"val/images/{line[0]}", line[1]) for line in lines]


@contextmanager
def _open_files(downloads: DownloadCache) -> Iterator[tuple[Path, list[str], _Read]]:
    """Yield the location of the files, their names, and a function that reads one."""
    location = downloads.find(_FOLDER) or downloads.file(ARCHIVE)
    try:
        if location.is_dir():
            names = [path.relative_to(location).as_posix() for path in location.rglob("*.JPEG")]
            yield location, names, lambda name: read_file(location / name)
        else:
            with zipfile.ZipFile(location) as archive:
                names = [name.removeprefix(f"{_FOLDER}/") for name in archive.namelist()]
                yield location, names, lambda name: archive.read(f"{_FOLDER}/{name}")
    except DataError:
        raise
    except (LookupError, OSError, ValueError) as error:  # also a list of classes or images that is cut off
        raise DataError(f"Tiny-ImageNet must be complete: {error} ({location})") from error
