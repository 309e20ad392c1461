"""Resumed searches: changes that are allowed, and changes that are refused."""

import json
import re
import shlex
from pathlib import Path

import pytest

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.records.stored_spec import read_spec
from lkca_search.search.state.resume import commit_space_file
from lkca_search.spec.cells import cells
from tests.support.space_files import SPACE, Space, cell_keys


@pytest.fixture
def started(space: Space, tmp_path: Path) -> SearchFolder:
    """Start a search with SPACE."""
    folder = SearchFolder(root=tmp_path / "searches" / "mine")
    commit_space_file(folder, space())
    return folder


def test_the_spec_of_a_started_search_is_read_unchanged(space: Space, started: SearchFolder) -> None:
    assert read_spec(started) == space().spec
    assert started.space_file.read_text() == SPACE


@pytest.mark.parametrize(
    "override",
    [
        "search.seed=0",  # unchanged
        "search.trials_per_cell=5",
        "search.max_retries=0",
        "keep.weights=none",
        "search.checkpoint_seconds=0.5",
        "resources={custom: {a100: 0.25}, max_concurrent: 8}",
        "factors.data_fraction=[0.1, 1, 0.5]",
        "factors.data_fraction=[0.05, 0.1, 1.0]",
        "factors.family=[vit, lkca]",
        "factors={data_fraction: [0.1, 1], family: [lkca, vit, resnet]}",
        "parameters.num_heads={value: 4, when: {family: [lkca_grouped]}}; factors.family=[lkca, vit, lkca_grouped]",
        "parameters.kernel_size.when.family=[lkca, pool]; factors.family=[lkca, vit, pool]",
        "factors.num_heads={levels: [1, 2], when: {family: [cct]}}; factors.family=[lkca, vit, cct]",
        "exclude=[{family: vit, data_fraction: 1}]",  # no trial of this cell has started
    ],
)
def test_a_resumed_search_may_add_trials_and_levels_and_change_how_it_is_driven(
    space: Space, started: SearchFolder, override: str
) -> None:
    file = space(*override.split("; "))
    commit_space_file(started, file)
    assert read_spec(started) == file.spec
    assert set(cell_keys(space().spec)) <= {cell.key for cell in cells(file.spec, with_excluded=True)}


def test_a_resumed_search_may_change_its_gpu_share_but_not_switch_to_the_cpu(space: Space, tmp_path: Path) -> None:
    folder = SearchFolder(root=tmp_path / "searches" / "mine")
    for gpu in ("0.25", "0.5", "auto"):
        commit_space_file(folder, space(f"resources.gpu={gpu}"))
    commit_space_file(folder, space("resources={gpu: auto, gpu_memory: 24}"))
    with pytest.raises(SearchError, match=r"resources\.gpu: 'auto' -> 0.0$"):
        commit_space_file(folder, space())


def test_a_resumed_search_may_include_excluded_cells_but_not_exclude_started_ones(
    space: Space, started: SearchFolder
) -> None:
    exclude = "exclude=[{family: vit, data_fraction: 1}]"
    commit_space_file(started, space(exclude))
    commit_space_file(started, space())
    started.trial("family=vit,data_fraction=1.0/0").attempt(driver=1, attempt=1).mkdir(parents=True)
    with pytest.raises(SearchError, match=r"exclude: \(\) -> \({'family': \('vit',\), 'data_fraction': \(1,\)},\)$"):
        commit_space_file(started, space(exclude))


def test_a_resumed_search_keeps_the_design_and_its_base(mixers: Space, tmp_path: Path) -> None:
    folder = SearchFolder(root=tmp_path / "searches" / "mine")
    commit_space_file(folder, mixers())
    with pytest.raises(SearchError, match=r"\n  base\.kernel_size: 7 -> 3"):
        commit_space_file(folder, mixers("base.kernel_size=3"))
    with pytest.raises(SearchError, match=r"base\.kernel_size: 7 -> None\n  design: 'one_at_a_time' -> 'crossed'$"):
        commit_space_file(folder, mixers("design=crossed", "~base"))
    more = mixers("factors.position_embedding=[false, true]", "base.position_embedding=true")
    with pytest.raises(SearchError, match=r"base\.position_embedding: None -> True$"):
        commit_space_file(folder, more)
    file = mixers("factors.family=[lkca, lkca_grouped, lkca_depthwise, vit]")
    commit_space_file(folder, file)
    assert read_spec(folder) == file.spec


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("search.trials_per_cell=3", "search.trials_per_cell: 4 -> 3"),
        ("search.seed=1", "search.seed: 0 -> 1"),
        ("search.sampler=random", "search.sampler: 'tpe' -> 'random'"),
        (
            "search.sampler={name: tpe, n_startup_trials: 3}",
            "search.sampler: 'tpe' -> {'name': 'tpe', 'n_startup_trials': 3}",
        ),
        (
            "factors.draw={levels: [0], when: {family: [vit]}}",
            "factors.draw.levels: None -> (0,)\n  factors.draw.when.family: None -> ('vit',)",
        ),
        (
            "parameters.draw={value: 1, when: {family: [vit]}}",
            "parameters.draw.value: None -> 1\n  parameters.draw.when.family: None -> ('vit',)",
        ),
        ("data.validation=0.2", "data.validation: 0.1 -> 0.2"),
        ("data.dataset=cifar10", "data.dataset: 'digits' -> 'cifar10'"),
        ("training.steps=200", "training.steps: 100 -> 200"),
        ("training={epochs: 3}", "training.epochs: None -> 3\n  training.steps: 100 -> None"),
        (
            "training={epochs: 3, min_steps: 10, max_steps: 20}",
            "training.epochs: None -> 3\n  training.max_steps: None -> 20\n  training.min_steps: None -> 10\n"
            "  training.steps: 100 -> None",
        ),
        ("resources.cpu=2", "resources.cpu: 1 -> 2"),
        ("resources.gpu=0.5", "resources.gpu: 0.0 -> 0.5"),
        ("resources.gpu=auto", "resources.gpu: 0.0 -> 'auto'"),
        ("factors.family=[lkca]", "factors.family: ('lkca', 'vit') -> ('lkca',)"),
        ("factors.data_fraction=[0.1, 0.5]", "factors.data_fraction: (0.1, 1) -> (0.1, 0.5)"),
        ("factors.draw=[0, 1]", "factors.draw: None -> (0, 1)"),
        ("~factors.data_fraction", "factors.data_fraction: (0.1, 1) -> None"),
        ("parameters.depth.int=[2, 5]", "parameters.depth.int: (2, 4) -> (2, 5)"),
        ("parameters.width.choice=[32, 64, 96]", "parameters.width.choice: (32, 64) -> (32, 64, 96)"),
        ("parameters.patch_size.value=1", "parameters.patch_size.value: 2 -> 1"),
        ("parameters.draw.value=1", "parameters.draw.value: None -> 1"),
        ("~parameters.width", "parameters.width.choice: (32, 64) -> None"),
        ("~parameters.kernel_size.when", "parameters.kernel_size.when.family: ('lkca',) -> None"),
        ("~parameters.learning_rate.log", "parameters.learning_rate.log: True -> False"),
    ],
)
def test_a_resumed_search_with_another_space_is_refused_with_the_differences(
    space: Space, started: SearchFolder, override: str, difference: str
) -> None:
    with pytest.raises(SearchError) as caught:
        commit_space_file(started, space(override, "search.max_retries=9"))
    message, listing = str(caught.value).split("\n", maxsplit=1)
    start = "search 'mine' was started with another space file; undo these changes to resume it"
    advice = message.removeprefix(start).removesuffix(", or start a new search with another --name:")
    assert (message, listing) == (f"{start}{advice}, or start a new search with another --name:", f"  {difference}")
    assert read_spec(started) == space().spec
    if advice:  # every old value is a plain one
        printed = re.fullmatch(r" \(or repeat the command with (.+)\)", advice)
        assert printed
        commit_space_file(started, space(override, "search.max_retries=9", *shlex.split(printed[1])))
        assert read_spec(started) == space("search.max_retries=9").spec
    else:
        assert override not in ("search.trials_per_cell=3", "data.dataset=cifar10", "~parameters.learning_rate.log")


def test_a_search_from_before_floors_and_caps_resumes(space: Space, started: SearchFolder) -> None:
    old = json.loads(started.spec.read_text())
    assert old["training"].pop("min_steps") is None
    assert old["training"].pop("max_steps") is None
    started.spec.write_text(json.dumps(old))
    assert read_spec(started) == space().spec
    commit_space_file(started, space())


def test_all_differences_are_listed_at_once(space: Space, started: SearchFolder) -> None:
    with pytest.raises(SearchError, match=r"search\.seed: 0 -> 1\n  training\.steps: 100 -> 200$"):
        commit_space_file(started, space("training.steps=200", "search.seed=1"))
