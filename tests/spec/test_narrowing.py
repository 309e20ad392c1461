"""Overrides that leave out levels: what refers to these levels alone is left out too, with a note."""

from pathlib import Path
from typing import Any

import pytest

from lkca_search.errors import SpaceFileError
from lkca_search.spec.space_file import SpaceFile, read_space_file
from tests.support.space_files import VALID, Read

SHIPPED = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
SMALL = Path(__file__).parents[2] / "search_spaces" / "scarcity_small.yaml"
CONDITIONAL = VALID.replace("{value: 64}", "{value: 64, when: {kernel_size: [5]}}")


def conditions(file: SpaceFile) -> dict[str, Any]:
    return {name: dict(domain.when) for name, domain in file.spec.parameters.items()}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_level_of_every_factor_of_a_shipped_file_can_stand_alone(path: Path) -> None:
    spec = read_space_file(path).spec
    for name, factor in spec.factors.items():
        for level in factor.levels:
            base = [f"base.{name}={level}"] if name in spec.base else []
            narrowed = read_space_file(path, [f"factors.{name}=[{level}]", *base]).spec
            assert narrowed.factors[name].levels == (level,)
            for entry in (*narrowed.factors.values(), *narrowed.parameters.values()):
                assert all(values == (level,) for other, values in entry.when.items() if other == name)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_without_a_narrower_level_nothing_is_left_out_or_noted(path: Path) -> None:
    file = read_space_file(path, ["search.seed=5"])
    assert file.notes == ()
    assert file.spec.parameters == read_space_file(path).spec.parameters
    assert file.spec.exclude == read_space_file(path).spec.exclude


def test_a_parameter_whose_condition_can_no_longer_hold_is_left_out_with_a_note(read: Read) -> None:
    file = read(VALID, "factors.family=[vit]")
    assert "kernel_size" not in file.spec.parameters
    assert file.notes == (
        "parameter kernel_size is left out: it applies when family is lkca, which the overrides leave out",
    )
    assert file.spec == read(VALID, "factors.family=[vit]", "~parameters.kernel_size").spec


def test_a_condition_that_holds_for_some_levels_keeps_these(read: Read) -> None:
    both = VALID.replace("when: {family: [lkca]}", "when: {family: [lkca, vit]}")
    file = read(both, "factors.family=[lkca]")
    assert conditions(file)["kernel_size"] == {"family": ("lkca",)}
    assert file.notes == ()


def test_what_depends_on_a_parameter_that_is_left_out_is_left_out_too(read: Read) -> None:
    file = read(CONDITIONAL, "factors.family=[vit]")
    assert [note.partition(":")[0] for note in file.notes] == [
        "parameter kernel_size is left out",
        "parameter width is left out",
    ]
    file = read(CONDITIONAL, "parameters.kernel_size.choice=[3]")
    assert [note.partition(":")[0] for note in file.notes] == ["parameter width is left out"]


@pytest.mark.parametrize(("bounds", "is_left_out"), [("[2, 4]", True), ("[6, 8]", False)])
def test_values_of_a_range_that_are_left_out_count_as_levels(read: Read, bounds: str, is_left_out: bool) -> None:
    text = VALID.replace("{value: 64}", "{value: 64, when: {depth: [6, 8]}}")
    assert ("width" not in read(text, f"parameters.depth.int={bounds}").spec.parameters) == is_left_out


def test_a_factor_that_is_removed_has_its_default_or_its_dataset(read: Read) -> None:
    file = read(VALID, "~factors.family")  # the default is lkca
    assert conditions(file)["kernel_size"] == {}
    assert file.notes == (
        "parameter kernel_size applies to every cell: it applied when family is lkca, and family is lkca",
    )
    text = VALID.replace("  dataset: cifar10\n", "").replace("[lkca, vit]\n", "[lkca, vit]\n  dataset: [a, b]\n")
    text = text.replace("{value: 64}", "{value: 64, when: {dataset: [a]}}")
    assert conditions(read(text, "~factors.dataset", "data.dataset=a"))["width"] == {}
    assert "width" not in read(text, "~factors.dataset", "data.dataset=b").spec.parameters


def test_exclusions_and_starts_of_levels_that_are_left_out_are_left_out() -> None:
    file = read_space_file(SMALL, ["factors.family=[lkca, vit]"])
    assert file.spec.exclude == ()
    assert file.notes == ("exclude.0 is left out: it has family resnet, which is left out",)
    file = read_space_file(SMALL, ["factors.data_fraction=[0.008, 0.02]"])
    assert file.spec.exclude == ({"family": ("resnet",), "data_fraction": (0.008,)},)


def test_errors_after_an_exclusion_that_is_left_out_have_the_right_line(read: Read) -> None:
    entries = "exclude:\n  - {family: vit, data_fraction: 0.1}\n  - {family: cnn}\n  - {family: [lkca], depth: 3}\n"
    with pytest.raises(SpaceFileError) as caught:
        read(VALID.replace("training:", f"{entries}training:"), "factors.family=[lkca]")
    assert [line.rpartition("(")[2] for line in caught.value.lines] == ["space.yaml:16)", "space.yaml:17)"]


def test_a_base_of_a_factor_that_is_left_out_is_left_out(read: Read) -> None:
    text = VALID.replace("  data_fraction: [0.1, 1]", "  num_heads: {levels: [4, 8], when: {family: [vit]}}")
    text = text.replace("training:", "design: one_at_a_time\nbase: {family: lkca, num_heads: 8}\ntraining:")
    file = read(text, "factors.family=[lkca]")
    assert file.spec.base == {"family": "lkca"}
    assert file.notes[-1] == "base.num_heads is left out: factor num_heads is left out"
    with pytest.raises(SpaceFileError, match="the base of family must be one of its levels"):
        read(text, "factors.family=[vit]")  # the reference of an ablation is a choice, and no consequence


def test_a_value_of_a_section_that_no_cell_takes_any_more_is_left_out(read: Read) -> None:
    text = VALID.replace("{value: 64}", "{value: 64}\n  batch_size: {value: 64, when: {family: [lkca]}}")
    file = read(text, "factors.family=[lkca]")
    assert file.notes == ("training.batch_size is left out: parameter batch_size gives every cell its own",)
    with pytest.raises(SpaceFileError, match=r"training\.batch_size must be left out"):
        read(text.replace("{value: 64, when: {family: [lkca]}}", "{value: 64}"), "factors.family=[lkca]")


def test_a_mistyped_level_is_the_only_error_in_the_file_and_in_an_override(read: Read) -> None:
    more = "exclude: [{family: vit, data_fraction: 1}]\ndesign: one_at_a_time\nbase: {family: vit}\ntraining:"
    text = VALID.replace("training:", more).replace("{value: 64}", "{value: 64, when: {family: [vit]}}")
    for old, new, overrides in (("[lkca, vit]", "[lkca, vitt]", []), ("", "", ["factors.family=[lkca, vitt]"])):
        with pytest.raises(SpaceFileError) as caught:
            read(text.replace(old, new), *overrides)
        assert len(caught.value.lines) == 1
        assert caught.value.lines[0].startswith("unknown family 'vitt'; did you mean vit?")


def test_a_condition_that_an_override_gives_is_not_narrowed(read: Read) -> None:
    with pytest.raises(SpaceFileError, match=r"`when` can never hold: 'vit' is not a level"):
        read(VALID, "factors.family=[lkca]", "parameters.kernel_size.when.family=[vit]")
