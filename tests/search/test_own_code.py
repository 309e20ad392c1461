"""Whole searches with a model, an augmentation, a dataset, an optimizer and a metric of the user."""

import json
import subprocess

import pyarrow.parquet as pq
import pytest

from lkca_search.records.provenance import read_search_code
from lkca_search.records.record import read_replicates
from tests.support.own_code import write_examples
from tests.support.search.command_line import COMMAND, SearchCommands

pytestmark = pytest.mark.slow
CELLS = ["family=mylab.models.MyNet", "family=resnet"]


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> SearchCommands:
    """Return the command line, in a working directory without own code; the space file is beside the package."""
    commands = SearchCommands(tmp_path_factory.mktemp("home"))
    space = write_examples(tmp_path_factory.mktemp("study"))
    commands.space = space.rename(space.parent / "toy.yaml")
    return commands


def refused(commands: SearchCommands, *arguments: str) -> str:
    done = subprocess.run(
        [*COMMAND, *arguments], env=commands.environment, cwd=commands.home.root, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def searched(commands: SearchCommands) -> SearchCommands:
    """Plan the search, and run it with its confirmation."""
    planned = json.loads(commands.call("plan", str(commands.space), "--json"))
    assert planned["num_trials"] == 4
    commands.run()
    return commands


def test_a_search_with_own_code_trains_and_confirms(searched: SearchCommands) -> None:
    searched.assert_exact(trials_per_cell=2, cells=CELLS)
    replicates = read_replicates(searched.folder)
    assert len(replicates) == 4
    assert all(replicate.test is not None for replicate in replicates)
    assert {replicate.metric for replicate in replicates} == {"test_mylab.metrics.brier_score"}


def test_every_record_has_the_hash_of_its_own_code(searched: SearchCommands) -> None:
    code = read_search_code(searched.folder)
    assert code is not None
    assert code.modules.keys() == {"mylab"}
    recorded = {record.facts.provenance.own_code for record in searched.records() if record.facts}
    assert recorded == {f"mylab {code.modules['mylab']}"}


def test_tables_and_mlflow_have_own_names_and_metrics(searched: SearchCommands) -> None:
    table = pq.read_table(searched.folder.root / "trials.parquet")
    ratios = dict(zip(table["trial_id"].to_pylist(), table["mylab_ratio"].to_pylist(), strict=True))
    assert all((ratio is None) == trial.startswith("family=resnet") for trial, ratio in ratios.items())
    assert all(0 <= score <= 2 for score in table["mylab.metrics.brier_score"].to_pylist())
    _, children = searched.runs()
    params = [run.data.params for run in children if run.data.params["family"] == "mylab.models.MyNet"]
    assert params
    assert all("mylab_ratio" in each for each in params)


def test_a_report_names_the_own_model_and_metric(searched: SearchCommands) -> None:
    searched.call("report", "toy")
    page = next(searched.folder.root.rglob("*.html")).read_text()
    assert "mylab.models.MyNet" in page
    assert "brier score" in page


def test_a_rerun_of_a_trial_with_own_code_has_no_difference(searched: SearchCommands) -> None:
    outcome = json.loads(searched.call("rerun", "toy", "--json"))
    assert outcome["difference"] == 0
    assert outcome["changes"] == []


def test_changed_own_code_is_refused_with_both_hashes(searched: SearchCommands) -> None:
    code = read_search_code(searched.folder)
    assert code is not None
    module = searched.space.parent / "mylab" / "augment.py"
    original = module.read_text()
    module.write_text(original.replace("< 0.5", "< 0.6"))
    try:
        for command in (
            ["run", str(searched.space), "search.trials_per_cell=3"],
            ["confirm", "toy", "--new-round"],
        ):
            error = refused(searched, *command)
            assert "own code must not change between runs of one search" in error
            assert f"mylab: {code.modules['mylab']} -> " in error
        outcome = subprocess.run(
            [*COMMAND, "rerun", "toy", "--json"],
            env=searched.environment,
            cwd=searched.home.root,
            capture_output=True,
            text=True,
        )
        assert outcome.returncode == 2
        assert "own_code was mylab" in outcome.stderr
        assert "--allow own-code" in outcome.stderr
    finally:
        module.write_text(original)
