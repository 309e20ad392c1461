"""Repeated searches: the same cells on several subset draws."""

from pathlib import Path

import pytest

from lkca_search.errors import SpaceFileError
from lkca_search.records.rounds import Round
from lkca_search.spec.cells import cells
from lkca_search.spec.factors import repeats_of
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.space_file import read_space_file

SPACE = """\
data: {dataset: digits}
factors: {family: [lkca, vit], data_fraction: [0.1, 1.0]}
parameters: {patch_size: {value: 2}, learning_rate: {float: [1.0e-4, 1.0e-2], log: true}}
training: {steps: 100}
search: {trials_per_cell: 4, repeats: 3}
"""


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


def test_every_cell_exists_once_per_repeat_on_a_separate_draw(space: Path) -> None:
    keys = [cell.key for cell in cells(read_space_file(space, []).spec)]
    assert keys[:4] == [
        "family=lkca,data_fraction=0.1,draw=0",
        "family=lkca,data_fraction=0.1,draw=1",
        "family=lkca,data_fraction=0.1,draw=2",
        "family=lkca,data_fraction=1.0,draw=0",
    ]
    assert len(keys) == 2 * 2 * 3


def test_repeats_are_short_for_the_factor_draw_also_after_a_round_trip(space: Path) -> None:
    spec = read_space_file(space, []).spec
    assert repeats_of(spec.factors, spec.exclude) == (0, 1, 2)
    assert SearchSpec.model_validate_json(spec.model_dump_json(by_alias=True)) == spec
    by_hand = read_space_file(space, ["factors.draw=[0, 1, 2]", "search.repeats=1"]).spec
    assert by_hand.factors == spec.factors
    once = read_space_file(space, ["search.repeats=1"]).spec
    assert repeats_of(once.factors, once.exclude) == ()
    assert "draw" not in once.factors


def test_a_confirmation_has_one_draw_per_repeat_by_default(space: Path) -> None:
    for overrides, draws in ((["confirm={}"], 3), (["confirm={}", "search.repeats=1"], 5), (["confirm.draws=3"], 3)):
        confirm = read_space_file(space, overrides).spec.confirm
        assert confirm is not None
        assert confirm.draws == draws


@pytest.mark.parametrize(
    "overrides",
    [
        ["factors.draw=[4]"],
        ["factors.draw={levels: [0, 1], when: {family: [vit]}}"],
        ["factors.draw=[0, 1]", "exclude=[{family: vit, draw: 1}]"],
    ],
)
def test_draws_that_a_cell_lacks_are_not_repeats(space: Path, overrides: list[str]) -> None:
    spec = read_space_file(space, ["search.repeats=1", *overrides, "confirm.draws=5"]).spec
    assert repeats_of(spec.factors, spec.exclude) == ()


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        (["factors.draw=[0, 1]"], "repeats must be left out if factor draw is given, unless its levels are 0 to 2"),
        (["parameters.draw={choice: [0, 1]}"], "draw must be either a factor or a parameter, got both"),
        (["confirm.draws=5"], "draws must be 3, one per repeat of the search, got 5"),
        (["exclude=[{family: vit, draw: 1}]"], "exclude must not name draw with search.repeats"),
        (["search.repeats=0"], "greater than or equal to 1"),
    ],
)
def test_invalid_repeats_are_refused(space: Path, overrides: list[str], rule: str) -> None:
    with pytest.raises(SpaceFileError) as error:
        read_space_file(space, overrides)
    assert rule in str(error.value)


def test_the_seal_of_a_round_without_repeats_does_not_cover_that_field() -> None:
    sealed = Round(
        number=1,
        opened=1000.0,
        metric="val_accuracy",
        goal="maximize",
        draws=(1, 2),
        num_seeds=1,
        top=1,
        test_hash="t",
        num_trials=3,
        num_trials_left=0,
        picks=(),
        cells_without=(),
    ).sealed()
    assert sealed.seal == "2f08a4c7672a825285d9480a9e61ed845e654a0e49e1a94f969e662a626541e3"
    assert sealed.model_copy(update={"repeats": (0, 1)}).sealed().seal != sealed.seal
