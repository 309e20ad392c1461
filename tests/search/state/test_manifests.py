"""Tests of manifests: they name exactly the images that trials train on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lkca_search.data.store import Images, hash_content
from lkca_search.data.subsets import assign_images, indices_hash
from lkca_search.layout import SearchFolder
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.state.manifests import Manifest, make_manifest, scan_manifests, split_seed, write_manifests
from lkca_search.spec.configuration import ImageShape
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import Tracker


@pytest.fixture(scope="module")
def images() -> Images:
    pixels, labels = np.zeros((200, 8, 8, 1), np.uint8), np.repeat(np.arange(4), [30, 40, 50, 80])
    names = ("crane", "crane", "jay", "owl")
    return Images(
        name="made", pixels=pixels, labels=labels, class_names=names, content_hash=hash_content(pixels, labels)
    )


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    return SearchFolder(root=tmp_path / "searches" / "mine")


def make_spec(factors: dict[str, Any], parameters: dict[str, Any] | None = None, **data: Any) -> SearchSpec:
    return SearchSpec.model_validate(
        {
            "data": {"dataset": "made", "validation": 0.2, **data},
            "factors": factors,
            "parameters": {"patch_size": {"value": 2}, "kernel_size": {"value": 3}, **(parameters or {})},
            "training": {"steps": 10},
            "search": {"trials_per_cell": 2, "seed": 3},
        }
    )


def files(folder: SearchFolder) -> list[str]:
    return sorted(path.name for path in (folder.root / "subsets").iterdir())


def saved_manifests(folder: SearchFolder) -> dict[str, Manifest]:
    """Return the manifests of a search by hash of their training images."""
    manifests, damaged = scan_manifests(folder)
    assert not damaged
    return {manifest.train.hash: manifest for manifest in manifests}


SPECS = [
    (make_spec({"family": ("lkca",), "data_fraction": (0.1, 0.5), "draw": (0, 1, 2)}), 6),
    (make_spec({"images_per_class": (5, 10)}, scale_validation=True), 2),
    (make_spec({"draw": (0, 1)}), 1),  # all images, so every draw is the same
    (make_spec({}, {"data_fraction": {"float": (0.1, 0.5)}, "draw": {"choice": (4, 7)}}), 4),
    (make_spec({}, {"images_per_class": {"int": (3, 6)}}), 4),
    (make_spec({"draw": (0, 1)}, {"images_per_class": {"value": 5, "when": {"draw": (1,)}}}), 2),
]


@pytest.mark.parametrize(("spec", "count"), SPECS)
def test_every_subset_size_and_draw_has_a_manifest_with_its_hash_and_counts(
    spec: SearchSpec, count: int, images: Images, folder: SearchFolder
) -> None:
    manifests = write_manifests(spec, {None: images}, folder)
    assert files(folder) == sorted({f"{manifest.train.hash}.json" for manifest in manifests})
    assert len(files(folder)) == count
    for manifest in manifests:
        saved = saved_manifests(folder)[manifest.train.hash]
        assert (saved.train, saved.validation, saved.data_hash) == (
            manifest.train,
            manifest.validation,
            images.content_hash,
        )
        for part in (saved.train, saved.validation):
            assert part.hash == indices_hash(part.indices)
            assert part.class_counts == tuple(np.bincount(images.labels[list(part.indices)], minlength=4))
            assert part.num_images == len(part.indices) == sum(part.class_counts)
        assert not set(saved.train.indices) & set(saved.validation.indices)


def test_a_manifest_stores_its_size_as_the_space_file_gives_it(images: Images, folder: SearchFolder) -> None:
    spec = make_spec({"images_per_class": (5,), "draw": (2,)})
    (manifest,) = write_manifests(spec, {None: images}, folder)
    assert (manifest.data_fraction, manifest.images_per_class, manifest.draw) == (None, 5, 2)
    assert manifest.train.class_counts == (5, 5, 5, 5)
    (manifest,) = write_manifests(make_spec({"data_fraction": (0.25,)}), {None: images}, folder)
    assert (manifest.data_fraction, manifest.images_per_class, manifest.train.num_images) == (0.25, None, 40)


def test_a_second_write_adds_new_manifests_and_keeps_existing_files(images: Images, folder: SearchFolder) -> None:
    write_manifests(make_spec({"data_fraction": (0.1,)}), {None: images}, folder)
    (path,) = (folder.root / "subsets").iterdir()
    before = path.read_bytes(), path.stat().st_mtime_ns
    write_manifests(make_spec({"data_fraction": (0.1, 0.2)}), {None: images}, folder)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert len(files(folder)) == 2


@pytest.mark.parametrize("spec", [spec for spec, _ in SPECS[:3]])
def test_a_trial_of_the_ledger_trains_on_the_images_of_a_manifest(
    spec: SearchSpec, images: Images, folder: SearchFolder
) -> None:
    write_manifests(spec, {None: images}, folder)
    ledger = Ledger(folder, spec, ImageShape(8, 8, 1), 10, Tracker())
    while (assignment := ledger.assign()) is not None:
        trial = assignment.spec
        assert trial.split_seed == split_seed(spec)
        assigned = assign_images(images.labels, trial.data, trial.configuration, split_seed=trial.split_seed)
        manifest = saved_manifests(folder)[indices_hash(assigned.train)]
        assert manifest.validation.hash == indices_hash(assigned.validation)
        again = make_manifest(images, trial.data, trial.configuration, split_seed=trial.split_seed)
        assert (again.train, again.validation) == (manifest.train, manifest.validation)


def test_a_changed_or_renamed_manifest_is_damaged(images: Images, folder: SearchFolder) -> None:
    (manifest,) = write_manifests(make_spec({"data_fraction": (0.1,)}), {None: images}, folder)
    path = folder.root / "subsets" / f"{manifest.train.hash}.json"
    content = json.loads(path.read_text())
    content["train"]["indices"][0] += 1
    path.write_text(json.dumps(content))
    _, (changed,) = scan_manifests(folder)
    assert changed.damage == "a manifest must match its hash, got other indices"
    path.unlink()
    path.with_name("abc.json").write_text(manifest.model_dump_json())
    _, (renamed,) = scan_manifests(folder)
    assert renamed.damage == f"a manifest's file must be named by its hash, got {manifest.train.hash}"
