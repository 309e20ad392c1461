"""Images of a trial: its subset, its validation images, and those that are assigned to it."""

import pytest

from lkca_search.data.store import Images
from lkca_search.data.subsets import assign_images, indices_hash
from lkca_search.training.images import DataDirs
from tests.support.trainings import FAMILIES, SPEC, changed, opened, split


def test_families_share_subset_and_validation_images_at_one_fraction_and_draw(data_dirs: DataDirs) -> None:
    for fraction, draw in ((0.1, 0), (0.1, 1), (0.5, 0)):
        lkca, vit = (
            opened(changed(spec, data_fraction=fraction, draw=draw, seed=seed), data_dirs)[0]
            for seed, spec in enumerate(FAMILIES.values())
        )
        assert lkca.subset_hash == vit.subset_hash
        assert lkca.validation_hash == vit.validation_hash
        assert lkca.data_hash == vit.data_hash


def test_draws_and_fractions_differ_in_their_subset_and_never_in_validation(data_dirs: DataDirs) -> None:
    found = [
        opened(changed(SPEC, data_fraction=fraction, draw=draw), data_dirs)[0]
        for fraction, draw in ((0.1, 0), (0.1, 1), (0.5, 0), (1.0, 0))
    ]
    assert len({facts.subset_hash for facts in found}) == 4
    assert len({facts.validation_hash for facts in found}) == 1


@pytest.mark.parametrize("fraction", [0.01, 0.3, 1.0])
def test_validation_images_are_never_trained_on(fraction: float, data_dirs: DataDirs, digits: Images) -> None:
    spec = changed(SPEC, data_fraction=fraction)
    facts, _ = opened(spec, data_dirs)
    holdout, subset = split(spec, digits)
    assert (facts.subset_hash, facts.num_train_images) == (indices_hash(subset), len(subset))
    validation = holdout.validation
    assert (facts.validation_hash, facts.num_validation_images) == (indices_hash(validation), len(validation))
    assert not set(subset.tolist()) & set(validation.tolist())


@pytest.mark.parametrize("scale_validation", [False, True])
@pytest.mark.parametrize("size", [{"data_fraction": 0.1}, {"data_fraction": None, "images_per_class": 12}])
def test_a_trial_trains_on_the_images_assigned_to_it(
    size: dict[str, object], scale_validation: bool, data_dirs: DataDirs, digits: Images
) -> None:
    spec = changed(SPEC, scale_validation=scale_validation, draw=2, **size)
    facts, _ = opened(spec, data_dirs)
    assigned = assign_images(digits.labels, spec.data, spec.configuration, split_seed=spec.split_seed)
    assert (facts.subset_hash, facts.num_train_images) == (indices_hash(assigned.train), len(assigned.train))
    assert (facts.validation_hash, facts.num_validation_images) == (
        indices_hash(assigned.validation),
        len(assigned.validation),
    )
