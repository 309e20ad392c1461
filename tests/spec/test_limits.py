"""Limits of space files: each has a reason and can be lifted, and no limit applies to a started search."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from lkca_search.errors import SearchError, SpaceFileError
from lkca_search.layout import Home
from lkca_search.records.stored_spec import read_spec
from lkca_search.search.state.resume import check_resume, commit_space_file
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.domains import Fixed, FloatRange, IntRange
from lkca_search.spec.factors import excluded
from lkca_search.spec.reading import limits
from lkca_search.spec.reading.limits import LIMIT_ERROR, Limit, Limits
from lkca_search.spec.resources import ResourcesSection
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import ConfirmSection, DataSection, LimitsSection, SearchSection, TrainingSection
from lkca_search.spec.space_file import list_unknown_allowances
from tests.support.broken_space_files import TEXT
from tests.support.space_files import Read

SECTIONS = [DataSection, TrainingSection, SearchSection, ResourcesSection, LimitsSection, ConfirmSection, Configuration]
BETWEEN_0_AND_1 = {
    "validation",
    "data_fraction",
    "drop_path_rate",
    "dropout",
    "label_smoothing",
    "warmup_fraction",
    "momentum",
    "beta2",
    "final_lr_fraction",
    "ema_decay",
    "gpu",  # at most 1, by a rule of its own
}


def numeric_fields() -> Iterator[tuple[type[BaseModel], str]]:
    """Yield each field of a space file that can be a number of its own; a start is within other fields' domains."""
    for model in (*SECTIONS, IntRange, FloatRange):
        for name, field in model.model_fields.items():
            if name not in ("when", "start") and {int, float} & {field.annotation, *_types(field.annotation)}:
                yield model, field.alias or name


def _types(annotation: Any) -> Iterator[Any]:
    for argument in get_args(annotation):
        yield argument
        yield from _types(argument)


LIMITED = [pair for pair in numeric_fields() if pair[1] not in BETWEEN_0_AND_1]


def broken_limit(model: type[BaseModel], name: str) -> Limit:
    """Return the limit that a huge number breaks."""
    huge: Any = 10**40
    value = {"int": (1, huge), "float": (1.0, 1e40), "custom": {"a100": 1e40}}.get(name, huge)
    with pytest.raises(ValidationError) as caught:
        model.model_validate({name: value}, context=Limits())
    (error,) = (error for error in caught.value.errors() if error["type"] == LIMIT_ERROR)
    limit: Limit = error["ctx"]["limit"]
    return limit


@pytest.mark.parametrize(("model", "name"), LIMITED)
def test_every_number_of_a_space_file_has_a_largest_value(model: type[BaseModel], name: str) -> None:
    limit = broken_limit(model, name)
    assert limit.reason
    assert limit.name in (name, "bounds")


def test_the_documentation_lists_every_limit_with_its_number() -> None:
    text = (Path(__file__).parents[2] / "docs" / "largest_values.md").read_text()
    rows = text.splitlines()
    documented = {
        name.strip("` "): row.split("|")[2].removesuffix("bytes ").strip()
        for row in rows
        if row.startswith("| `")
        for name in row.split("|")[1].split(",")
    }
    found = [limit for limit in vars(limits).values() if isinstance(limit, Limit)]
    found += [broken_limit(model, name) for model, name in LIMITED]
    assert documented == {limit.name: f"{limit.maximum:,}" if limit.name != "seed" else "2^128" for limit in found}


def test_a_limit_is_lifted_by_its_name_alone(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    text = TEXT.replace("steps: 100", "steps: 2000000000").replace("cell: 6", "cell: 200000")
    with pytest.raises(SpaceFileError) as caught:
        read(text)
    assert [line.partition("set ")[2] for line in caught.value.lines] == [
        "LKCA_SEARCH_ALLOW=steps to allow more (space.yaml:12)",
        "LKCA_SEARCH_ALLOW=trials_per_cell to allow more (space.yaml:14)",
    ]
    monkeypatch.setenv("LKCA_SEARCH_ALLOW", "steps")
    with pytest.raises(SpaceFileError, match=r"^search.trials_per_cell must be at most 100,000, got 200000: .*$"):
        read(text)
    monkeypatch.setenv("LKCA_SEARCH_ALLOW", "steps, trials_per_cell")
    assert read(text).spec.search.trials_per_cell == 200_000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("file_size", f"{TEXT}#{'x' * 70_000}"),
        (
            "values",
            TEXT.replace("[0.1, 1]", f"[0.1, 1]\nexclude: [&e {{family: vit}}{', *e' * 5_100}]"),
        ),
        ("depth", TEXT.replace("[2, 8]", "[2, 1001]")),
        ("text_length", TEXT.replace("digits", f"folder:/{'x' * 5_000}")),
        ("cells", TEXT.replace("factors:", f"factors:\n  draw: {list(range(1_300))}")),
        ("trials", TEXT.replace("factors:", f"factors:\n  draw: {list(range(3))}").replace("cell: 6", "cell: 100000")),
        ("replicates", f"{TEXT}confirm: {{draws: 1000, seeds: 300}}"),
        ("reports", TEXT.replace("steps: 100", "steps: 20\n  reports: 400")),
        ("reports", TEXT.replace("steps: 100", "epochs: 20000")),
        ("arguments", TEXT.replace("_cell: 6", "_cell: 6\n  sampler: {name: a.B, budget: 100001}")),
        ("draw", TEXT.replace("{value: 2}", "{value: 2}\n  draw: {int: [0, 1000000000]}")),
    ],
)
def test_every_kind_of_limit_can_be_lifted(read: Read, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    with pytest.raises(SpaceFileError, match=f"must be at most .*set LKCA_SEARCH_ALLOW={name} to allow more"):
        read(text)
    monkeypatch.setenv("LKCA_SEARCH_ALLOW", name)
    read(text)


def test_a_number_at_its_limit_is_accepted(read: Read) -> None:
    text = TEXT.replace("steps: 100", "steps: 1000000000\n  reports: 10000").replace("cell: 6", "cell: 100000")
    assert read(text).spec.training.num_reports == 10_000
    assert (
        len(read(TEXT.replace("factors:", f"factors:\n  draw: {list(range(1_250))}")).spec.factors["draw"].levels)
        == 1_250
    )


def test_cells_count_only_where_conditions_hold(read: Read) -> None:
    conditional = "".join(
        f"  {name}: {{levels: [{', '.join(map(str, range(1, 11)))}], when: {{pooling: [{pooling}]}}}}\n"
        for name, pooling in (
            ("num_heads", "mean"),
            ("kernel_size", "mean"),
            ("width", "class_token"),
            ("draw", "class_token"),
        )
    )
    spec = read(TEXT.replace("factors:\n", f"factors:\n  pooling: [mean, class_token]\n{conditional}")).spec
    assert sum(1 for _ in spec.factors) == 7


def test_a_started_search_over_a_limit_can_be_read_and_resumed(
    read: Read, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LKCA_SEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LKCA_SEARCH_ALLOW", "reports,depth")
    folder = Home.from_environment().search("old")
    text = TEXT.replace("steps: 100", "steps: 20\n  reports: 400").replace("[2, 8]", "[2, 5000]")
    commit_space_file(folder, read(text))
    monkeypatch.delenv("LKCA_SEARCH_ALLOW")
    spec = read_spec(folder)
    assert spec.training.num_reports == 400
    assert SearchSpec.model_validate_json(spec.model_dump_json(by_alias=True)) == spec
    with pytest.raises(SpaceFileError, match="LKCA_SEARCH_ALLOW=reports"):
        read(text)
    monkeypatch.setenv("LKCA_SEARCH_ALLOW", "reports,depth")
    check_resume(folder, read(text))


def test_draws_of_the_command_line_have_the_limits_of_a_space_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ConfirmSection(top=3).with_requested({"draws": 7}) == ConfirmSection(top=3, draws=7)
    rule = "draws must be at most 1,000, got 1000000000: .* set LKCA_SEARCH_ALLOW=draws to allow more"
    with pytest.raises(SearchError, match=rule):
        ConfirmSection().with_requested({"draws": 10**9})
    monkeypatch.setenv("LKCA_SEARCH_ALLOW", "draws")
    assert ConfirmSection().with_requested({"draws": 10**9}).draws == 10**9


@given(
    st.lists(st.fixed_dictionaries({}, optional={name: st.integers(0, 3) for name in "abc"}), max_size=12),
    st.lists(
        st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(0, 4), min_size=1).map(tuple), min_size=1),
        max_size=4,
    ),
)
def test_an_exclusion_covers_the_cells_in_which_every_name_has_a_listed_level(
    cells: list[dict[str, Any]], exclude: list[dict[str, tuple[int, ...]]]
) -> None:
    expected = [
        sum(1 << i for i, cell in enumerate(cells) if all(cell.get(name) in levels for name, levels in entry.items()))
        for entry in exclude
    ]
    assert excluded(cells, exclude) == expected


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1_000", 1_000),
        ("+7", 7),
        ("-0", 0),
        ("0", 0),
        ("1.5e+3", 1_500.0),
        (".5", 0.5),
        ("00.5", 0.5),
        ("1_0.5", 10.5),
    ],
)
def test_a_number_that_is_read_as_written_is_accepted(read: Read, written: str, value: float) -> None:
    text = TEXT.replace("_cell: 6", f"_cell: 6\n  sampler: {{name: tpe, x: {written}}}")
    read_value = read(text).spec.search.sampler.arguments["x"]
    assert (read_value, type(read_value)) == (value, type(value))


def test_ranges_of_any_length_have_edges() -> None:
    assert IntRange.model_validate({"int": (0, 10**30), "step": 7}).edges() == (0, 10**30 - 10**30 % 7)
    assert IntRange.model_validate({"int": (2, 9), "step": 3}).edges() == (2, 5, 8)
    assert Fixed(value=1).edges() == (1,)


def test_a_name_that_no_limit_has_is_named_with_the_one_that_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LKCA_SEARCH_ALLOW", "stpes, cells,learning_rate,,bounds,Trials")
    assert list_unknown_allowances() == [
        "LKCA_SEARCH_ALLOW must have names of limits, got 'Trials'; did you mean trials?",
        "LKCA_SEARCH_ALLOW must have names of limits, got 'stpes'; did you mean steps?",
    ]


@pytest.mark.parametrize(("model", "name"), LIMITED)
def test_every_limit_can_be_named(model: type[BaseModel], name: str) -> None:
    assert broken_limit(model, name).name in limits.limit_names()
