"""Small copies of official dataset files in their real formats, and a server for them."""

import gzip
import hashlib
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import CIFAR10, CIFAR100, SVHN, FashionMNIST

from lkca_search.data.readers import official as official_readers
from lkca_search.data.readers import tiny_imagenet

WORDNET = {"n02": "sea slug, nudibranch", "n01": "goldfish, Carassius auratus", "n03": "teapot"}


class Made(NamedTuple):
    """Images and labels of one split."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


Splits = dict[str, Made]
Serve = Callable[[str], str]
"""Function from the name of a file to its URL."""


def make(num_classes: int, shape: tuple[int, ...], *, a_class: int, seed: int) -> Made:
    """Return random images, `a_class` of each class."""
    pixels = np.random.default_rng(seed).integers(0, 256, (num_classes * a_class, *shape), dtype=np.uint8)
    return Made(pixels, np.tile(np.arange(num_classes), a_class))


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


class _OldDtype:
    """Array that pickles like uint8 in the NumPy of Python 2: integers in place of booleans."""

    def __reduce__(self) -> Any:
        return np.dtype, ("u1", 0, 1), (3, "|", None, None, None, -1, -1, 0)


class _OldArray:
    def __init__(self, array: NDArray[np.uint8]) -> None:
        self._array = array

    def __reduce__(self) -> Any:
        reconstruct = np.empty(0).__reduce__()[0]
        state = (1, self._array.shape, _OldDtype(), False, self._array.tobytes())
        return reconstruct, (np.ndarray, (0,), b"b"), state


def write_cifar(folder: Path, serve: Serve, patch: pytest.MonkeyPatch, official: Any, num_classes: int) -> Splits:
    """Write the archive of pickles: five batches of CIFAR-10 or one of CIFAR-100, a test batch, and the names."""
    splits, members = _make_cifar(official, official.test_list, num_classes)
    with tarfile.open(folder / official.filename, "w:gz") as archive:
        for name, content in {**members, "readme.html": b"hello"}.items():
            entry = tarfile.TarInfo(f"{official.base_folder}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    _patch_training_files(official, members, patch)
    patch.setattr(official, "test_list", [[name, md5(members[name])] for name, _ in official.test_list])
    patch.setattr(official, "tgz_md5", md5((folder / official.filename).read_bytes()))
    patch.setattr(official, "url", serve(official.filename))
    return splits


def write_cifair(folder: Path, serve: Serve, patch: pytest.MonkeyPatch, official: Any, num_classes: int) -> Splits:
    """Write the zip of ciFAIR: the training pickles of CIFAR, and another test batch."""
    listed = f"CIFAIR{num_classes}"
    files = dict(getattr(official_readers, listed))
    splits, members = _make_cifar(official, files["test_list"], num_classes)
    path = folder / files["filename"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members, "readme.html": b"hello"}.items():
            archive.writestr(f"{files['base_folder']}/{name}", content)
    _patch_training_files(official, members, patch)
    files["test_list"] = [[name, md5(members[name])] for name, _ in files["test_list"]]
    patch.setattr(official_readers, listed, {**files, "tgz_md5": md5(path.read_bytes()), "url": serve(path.name)})
    return splits


def _make_cifar(official: Any, test_list: Sequence[Sequence[str]], num_classes: int) -> tuple[Splits, dict[str, bytes]]:
    """Return images of both splits, and the pickles with them by name."""
    splits = {
        "train": make(num_classes, (32, 32, 3), a_class=5, seed=0),
        "test": make(num_classes, (32, 32, 3), a_class=2, seed=1),
    }
    key = "labels" if num_classes == 10 else "fine_labels"
    members = {}
    for split, names in (("train", official.train_list), ("test", test_list)):
        pixels, labels = splits[split]
        rows = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
        for (name, _), part, answers in zip(
            names, np.array_split(rows, len(names)), np.array_split(labels, len(names)), strict=True
        ):
            members[name] = pickle.dumps({"data": _OldArray(part), key: answers.tolist()}, protocol=2)
    class_names = [f"class {label}" for label in range(num_classes)]
    members[official.meta["filename"]] = pickle.dumps({official.meta["key"]: class_names}, protocol=2)
    return splits, members


def _patch_training_files(official: Any, members: Mapping[str, bytes], patch: pytest.MonkeyPatch) -> None:
    patch.setattr(official, "train_list", [[name, md5(members[name])] for name, _ in official.train_list])
    patch.setattr(official, "meta", {**official.meta, "md5": md5(members[official.meta["filename"]])})


def write_svhn(folder: Path, serve: Serve, patch: pytest.MonkeyPatch) -> Splits:
    """Write two MATLAB files: X (H, W, C, N), and y (N, 1) with 10 for the digit 0."""
    splits = {"train": make(10, (32, 32, 3), a_class=3, seed=0), "test": make(10, (32, 32, 3), a_class=2, seed=1)}
    listed = dict(SVHN.split_list)
    for split, (pixels, labels) in splits.items():
        name = f"{split}_32x32.mat"
        y = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        savemat(folder / name, {"X": pixels.transpose(1, 2, 3, 0), "y": y}, do_compression=True)
        listed[split] = [serve(name), name, md5((folder / name).read_bytes())]
    patch.setattr(SVHN, "split_list", listed)
    return splits


def write_fashion_mnist(folder: Path, serve: Serve, patch: pytest.MonkeyPatch) -> Splits:
    """Write four gzipped IDX files: big-endian lengths, then bytes."""
    splits = {"train": make(10, (28, 28, 1), a_class=3, seed=0), "test": make(10, (28, 28, 1), a_class=2, seed=1)}
    resources = []
    for prefix, (pixels, labels) in (("train", splits["train"]), ("t10k", splits["test"])):
        for kind, values in (("images-idx3", pixels[..., 0]), ("labels-idx1", labels.astype(np.uint8))):
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
            name = f"{prefix}-{kind}-ubyte.gz"
            (folder / name).write_bytes(gzip.compress(header + values.tobytes()))
            resources.append((name, md5((folder / name).read_bytes())))
    patch.setattr(FashionMNIST, "resources", resources)
    patch.setattr(FashionMNIST, "mirrors", [serve("")])
    return splits


def write_tiny_imagenet(folder: Path, serve: Serve, patch: pytest.MonkeyPatch) -> Splits:
    """Write the zip of JPEGs, the last training image in gray; return the images as Pillow decodes them."""
    made: dict[str, tuple[list[NDArray[np.uint8]], list[int]]] = {"train": ([], []), "test": ([], [])}
    annotations = []
    with zipfile.ZipFile(folder / "tiny-imagenet-200.zip", "w") as archive:

        def add(name: str, content: bytes | str) -> None:
            archive.writestr(f"tiny-imagenet-200/{name}", content)

        def add_image(name: str, split: str, label: int, mode: str = "RGB") -> None:
            pixels = np.random.default_rng(len(archive.namelist())).integers(0, 256, (64, 64, 3), dtype=np.uint8)
            file = io.BytesIO()
            Image.fromarray(pixels).convert(mode).save(file, format="JPEG")
            add(name, file.getvalue())
            made[split][0].append(np.asarray(Image.open(file).convert("RGB")))
            made[split][1].append(label)

        add("wnids.txt", "\n".join(WORDNET))
        add("words.txt", "\n".join(f"{key}\t{words}" for key, words in {**WORDNET, "n99": "not used"}.items()))
        for label, key in enumerate(sorted(WORDNET)):
            add(f"train/{key}/{key}_boxes.txt", "")
            for i in range(3):
                add_image(f"train/{key}/images/{key}_{i}.JPEG", "train", label, "L" if label == i == 2 else "RGB")
        for i, label in enumerate([2, 0, 1, 1]):
            add_image(f"val/images/val_{i}.JPEG", "test", label)
            annotations.append(f"val_{i}.JPEG\t{sorted(WORDNET)[label]}\t0\t0\t62\t62\n")
        add("val/val_annotations.txt", "".join(annotations))
        add("test/images/test_0.JPEG", "never read")
    name = "tiny-imagenet-200.zip"
    own = tiny_imagenet.OfficialFile(name=name, urls=[serve(name)], md5=md5((folder / name).read_bytes()))
    patch.setattr(tiny_imagenet, "ARCHIVE", own)
    return {split: Made(np.stack(pixels), np.array(labels)) for split, (pixels, labels) in made.items()}


WRITERS: dict[str, Callable[[Path, Serve, pytest.MonkeyPatch], Splits]] = {
    "cifar10": partial(write_cifar, official=CIFAR10, num_classes=10),
    "cifar100": partial(write_cifar, official=CIFAR100, num_classes=100),
    "cifair10": partial(write_cifair, official=CIFAR10, num_classes=10),
    "cifair100": partial(write_cifair, official=CIFAR100, num_classes=100),
    "svhn": write_svhn,
    "tiny_imagenet": write_tiny_imagenet,
    "fashion_mnist": write_fashion_mnist,
}
"""Function that writes the files of a dataset into a folder and patches the official URLs and checksums."""


@contextmanager
def serving(folder: Path, *, behave: Literal["well", "cut off"] = "well") -> Iterator[tuple[str, list[str]]]:
    """Run a local file server; yield its address and the list of requested paths."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if behave == "well":
                super().do_GET()
                return
            content = (folder / self.path.lstrip("/")).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", asked
        finally:
            server.shutdown()
            thread.join()
