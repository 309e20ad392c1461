"""Images of the search as NumPy arrays: decoded once, and the same for every contestant."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

FILE = "images.npz"


@dataclass(frozen=True, kw_only=True, eq=False)
class Arrays:
    """Training and validation images: uint8 (N, H, W, C), and labels, int64 (N,)."""

    train_pixels: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    validation_pixels: NDArray[np.uint8]
    validation_labels: NDArray[np.int64]
    class_names: NDArray[np.str_]

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load the images in a folder."""
        with np.load(Path(folder) / FILE) as file:
            return cls(**{name: file[name] for name in file.files})

    @classmethod
    def decode(cls, space_file: Path, *, cache: Path, data_dir: Path | None) -> Self:
        """Return the images that a search trains and validates on; decode the dataset into `cache` for the search."""
        from lkca_search.data.subsets import assign_images
        from lkca_search.search.state.manifests import split_seed
        from lkca_search.spec.configuration import Configuration
        from lkca_search.spec.space_file import read_space_file
        from lkca_search.training.images import DataDirs, open_train_images

        spec = read_space_file(space_file, ()).spec
        images = open_train_images(spec.data, DataDirs(cache=cache, data_dir=data_dir))
        size = {"images_per_class": spec.parameters["images_per_class"].value}
        holdout = assign_images(
            images.labels, spec.data, Configuration.model_validate(size), split_seed=split_seed(spec)
        )
        return cls(
            train_pixels=images.pixels[holdout.train],
            train_labels=images.labels[holdout.train],
            validation_pixels=images.pixels[holdout.validation],
            validation_labels=images.labels[holdout.validation],
            class_names=np.array(images.class_names),
        )

    def save(self, folder: str | Path) -> None:
        """Write the images into a folder."""
        np.savez(Path(folder) / FILE, **vars(self))
