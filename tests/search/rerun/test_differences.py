"""Differences of a rerun are fatal, notable or harmless; fatal ones are refused unless an edit explains them."""

from typing import Any

import pytest

from lkca_search.environment.packages import installed_packages
from lkca_search.errors import UserError
from lkca_search.records.record import TrialMetadata
from lkca_search.records.rerun import Severity
from lkca_search.search.rerun.differences import AREAS, RerunRefused, find_changes, find_edits, split_changes
from lkca_search.search.rerun.overrides import apply_overrides
from lkca_search.search.rerun.trial_file import TrialFile
from tests.support.records import FACTS, make_record

FILE = TrialFile.from_record(make_record(facts=FACTS))


def with_provenance(**values: Any) -> TrialMetadata:
    return FACTS.model_copy(update={"provenance": FACTS.provenance.model_copy(update=values)})


@pytest.mark.parametrize(
    ("current", "name", "severity", "area"),
    [
        (FACTS.model_copy(update={"data_hash": "e" * 64}), "data_hash", Severity.FATAL, "data"),
        (FACTS.model_copy(update={"subset_hash": "e" * 64}), "subset_hash", Severity.FATAL, "subset"),
        (FACTS.model_copy(update={"validation_hash": "e" * 64}), "validation_hash", Severity.FATAL, "subset"),
        (FACTS.model_copy(update={"num_parameters": 1}), "num_parameters", Severity.FATAL, "model"),
        (FACTS.model_copy(update={"planned_steps": 1}), "planned_steps", Severity.FATAL, "model"),
        (FACTS.model_copy(update={"flops": 1}), "flops", Severity.NOTABLE, None),
        (with_provenance(git_commit="b" * 40), "git_commit", Severity.NOTABLE, None),
        (with_provenance(package_version="9"), "package_version", Severity.NOTABLE, None),
        (with_provenance(torch_version="9"), "torch_version", Severity.NOTABLE, None),
        (with_provenance(device="NVIDIA H200"), "device", Severity.NOTABLE, None),
        (with_provenance(num_threads=2), "num_threads", Severity.NOTABLE, None),
        (with_provenance(python_version="3.13.0"), "python_version", Severity.HARMLESS, None),
        (with_provenance(ray_version="9"), "ray_version", Severity.HARMLESS, None),
        (with_provenance(node="there"), "node", Severity.HARMLESS, None),
    ],
)
def test_each_difference_has_its_severity(
    current: TrialMetadata, name: str, severity: Severity, area: str | None
) -> None:
    (change,) = find_changes(FILE, current)
    assert (change.name, change.severity, change.area) == (name, severity, area)


@pytest.mark.parametrize(
    ("name", "was", "now", "severity"),
    [
        ("cpu_model", "AMD (AVX2)", "AMD (AVX512)", Severity.NOTABLE),
        ("gpu_driver", "570.1", "580.2", Severity.NOTABLE),
        ("cuda_version", "12.8", "13.0", Severity.NOTABLE),
        ("cudnn_version", "9.10.2", "9.11.0", Severity.NOTABLE),
        ("git_diff", "0" * 16, "1" * 16, Severity.NOTABLE),
        ("own_code", "lab 0", "lab 1", Severity.FATAL),
        ("memory_bytes", 1, 2, Severity.HARMLESS),
        ("packages_hash", "0" * 16, "1" * 16, Severity.HARMLESS),
    ],
)
def test_a_value_that_an_earlier_version_did_not_record_is_no_difference(
    name: str, was: Any, now: Any, severity: Severity
) -> None:
    assert find_changes(FILE, with_provenance(**{name: now})) == []
    file = FILE.model_copy(update={"facts": with_provenance(**{name: was})})
    (change,) = find_changes(file, with_provenance(**{name: now}))
    assert (change.name, change.severity, str(change)) == (name, severity, f"{name} was {was}, is {now}")


def test_results_and_the_command_are_not_compared() -> None:
    facts = FACTS.model_copy(update={"weights_hash": "a", "nondeterministic": ("x",), "damaged_checkpoints": ("y",)})
    current = with_provenance(command_line="lkca-search rerun x", git_problem="none")
    assert find_changes(FILE.model_copy(update={"facts": facts}), current) == []


def test_packages_that_compute_are_notable_and_all_others_harmless_if_their_versions_are_known() -> None:
    installed = dict(installed_packages())
    packages = {**installed, "numpy": "1.0", "rich": "1.0", "gone": "2.0"}
    old = with_provenance(packages={"numpy": "1.0", "timm": installed["timm"]}, packages_hash="0" * 16)
    now = with_provenance(packages={"numpy": installed["numpy"], "timm": installed["timm"]}, packages_hash="1" * 16)
    file = FILE.model_copy(update={"facts": old})
    found = [(change.name, change.severity) for change in find_changes(file, now, packages=packages)]
    assert found == [
        ("numpy", Severity.NOTABLE),
        ("gone", Severity.HARMLESS),
        ("rich", Severity.HARMLESS),
    ]


def test_fatal_differences_are_refused_by_name_and_allowed_by_area() -> None:
    current = FACTS.model_copy(update={"data_hash": "e" * 64, "subset_hash": "f" * 64, "flops": 1})
    changes = find_changes(FILE, current)
    with pytest.raises(RerunRefused) as caught:
        split_changes(FILE, changes)
    assert isinstance(caught.value, UserError)  # exit code 2
    for text in ("data_hash was d", "subset_hash was s", "--allow data --allow subset"):
        assert text in str(caught.value)
    with pytest.raises(RerunRefused, match=r"--allow subset$"):
        split_changes(FILE, changes, allowed=["data"])
    edits, rest = split_changes(FILE, changes, allowed=["data", "subset"])
    assert [edit.split()[0] for edit in edits] == ["data_hash", "subset_hash"]
    assert [change.name for change in rest] == ["flops"]


@pytest.mark.parametrize(
    ("override", "explained"),
    [
        ("data.dataset=cifar10", {"data", "subset", "model"}),
        ("data_fraction=0.5", {"subset", "model"}),
        ("split_seed=1", {"subset"}),
        ("validation=0.3", {"subset", "model"}),
        ("epochs=3", {"model"}),
        ("learning_rate=0.5", {"model"}),
        ("seed=1", set()),
        ("cpu=2", set()),
    ],
)
def test_an_edit_explains_the_differences_that_follow_from_it_and_no_other(override: str, explained: set[str]) -> None:
    file = FILE.model_copy(update={"trial": apply_overrides(FILE.trial, [override])})
    for area, names in AREAS.items():
        field = names[0]
        old = with_provenance(own_code="lab 0") if area == "own-code" else FACTS
        update = {field: "x" * 64 if field.endswith("hash") else 7}
        current = with_provenance(own_code="lab 1") if area == "own-code" else FACTS.model_copy(update=update)
        changes = find_changes(file.model_copy(update={"facts": old}), current)
        assert [change.area for change in changes] == [area]
        if area in explained:
            assert len(split_changes(file, changes)[0]) == 1
        else:
            with pytest.raises(RerunRefused):
                split_changes(file, changes)


def test_moved_images_and_other_resources_are_no_edit() -> None:
    moved = FILE.model_copy(update={"trial": apply_overrides(FILE.trial, ["data.dataset=folder:/elsewhere", "cpu=3"])})
    assert find_edits(moved, FACTS) == []
    (edit,) = find_edits(moved, FACTS.model_copy(update={"data_hash": "e" * 64}))
    assert edit == "data.dataset was digits, is folder:/elsewhere"
