"""Description of a search in MLflow, from its files."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lkca_search.analysis.search_results import read_search_results
from lkca_search.layout import SearchFolder
from lkca_search.paths import sqlite_url, write_atomically
from lkca_search.records.record import RecordReader
from lkca_search.records.search.uid import uid_or_name
from lkca_search.reporting.content import make_report
from lkca_search.search.description import describe_search, space_parameters
from lkca_search.search.sync import open_store
from lkca_search.spec.space_file import read_space_file
from lkca_search.tracking.runs import attach_report
from tests.support.search_results import law, make_search_results
from tests.support.tracking.confirmed import make_confirmed, sync, write_search

HEADER = "# Question:  is LKCA better\n#            on few images?\n# Command:   lkca-search run x.yaml\ndata: {}\n"


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory: pytest.TempPathFactory) -> SearchFolder:
    folder = write_search(tmp_path_factory.mktemp("home"), make_confirmed(draws=3), keep=())
    write_atomically(folder.space_file, HEADER.encode())
    return folder


def test_a_confirmed_search_has_its_question_answer_cells_with_intervals_and_links(confirmed: SearchFolder) -> None:
    run = open_store(confirmed, confirmed.home).search_run
    text = describe_search(confirmed, RecordReader(confirmed), run).description
    answer, links, question, progress = text.split("\n\n")[:4]
    shown = make_report(read_search_results(confirmed)).answer
    assert answer == f"**{shown.question}** {shown.finding}"
    assert question == "**Question of the space file:** is LKCA better on few images?"
    assert [f"-{kind}" in links for kind in ("trials", "curves", "charts", "replicates")] == [True] * 4
    assert progress == "4 of 6 trials are finished. Confirmation, round 1: 6 of 6 replicates."
    of_vit = [line for line in text.splitlines() if line.startswith("| family=vit,data_fraction=0.1 |")]
    assert [line.endswith("] | 3 of 3 |") for line in of_vit] == [True, False]
    assert any(line.startswith("| lkca − vit | 1,800 |") and "[" in line for line in text.splitlines())
    assert of_vit[1].endswith(" | 2 of 3 | 0.6000 | #1 |")


def test_a_round_that_is_not_complete_has_no_results(tmp_path: Path) -> None:
    made = make_confirmed(draws=3)
    folder = write_search(tmp_path, replace(made, replicates=made.replicates[1:]), keep=())
    text = describe_search(folder, RecordReader(folder), open_store(folder, folder.home).search_run).description
    assert "Confirmation, round 1: 5 of 6 replicates." in text
    assert "Test accuracy" not in text


def test_a_search_is_described_by_sync_and_by_its_report_and_no_second_time(
    confirmed: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = partial(describe_search, confirmed, RecordReader(confirmed))
    report = confirmed.home, uid_or_name(confirmed), "report.html", b"page", {"difference": 1.0}, describe
    assert sync(confirmed, describe=True).fault is None
    assert attach_report(*report) is not None
    run = open_store(confirmed, confirmed.home).search_run
    note = run.tags["mlflow.note.content"]
    assert f"[**report**](#/experiments/{run.experiment}/runs/{run.run_id}/artifacts/report.html" in note
    assert run.client.get_run(run.run_id).data.metrics["test_accuracy/lkca-0_1"] == pytest.approx(0.75, abs=0.1)

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("nothing has changed")

    for name in ("log_batch", "set_tag", "set_experiment_tag"):
        monkeypatch.setattr(MlflowClient, name, refuse)
    assert sync(confirmed, describe=True).fault is None
    assert attach_report(*report) is not None


def test_a_search_of_many_cells_has_a_description_that_mlflow_stores(tmp_path: Path) -> None:
    fractions = tuple(round(0.01 * number, 2) for number in range(1, 41))
    results = make_search_results(law(), fractions=fractions, draws=2, seeds=1, trials=2)
    folder = write_search(tmp_path, results, keep=())
    run = open_store(folder, folder.home).search_run
    content = describe_search(folder, RecordReader(folder), run)
    assert 4_000 < len(content.description) <= 5_000
    assert content.description.endswith(" more rows of the tables are in the report.")
    run.describe(content)
    stored = MlflowClient(tracking_uri=sqlite_url(folder.home.mlflow_database)).get_run(run.run_id)
    assert len(stored.data.metrics) == 2 + 2 * 80
    assert stored.data.params["family"] == "lkca, vit"


@pytest.mark.parametrize("path", sorted(Path("search_spaces").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_space_of_every_shipped_search_has_a_parameter_per_name(path: Path) -> None:
    spec = read_space_file(path).spec
    found = space_parameters(spec)
    assert {*spec.factors, *spec.parameters} <= found.keys()
    assert all(found.values())


def test_ranges_choices_and_conditions_are_words() -> None:
    found = space_parameters(read_space_file(Path("search_spaces/quickstart.yaml")).spec)
    names = ("family", "kernel_size", "depth", "learning_rate", "batch_size", "augment", "data.validation")
    assert [found[name] for name in names] == [
        *("lkca, vit", "3, 5, 7 (family: lkca)", "2 to 4", "0.001 to 0.01, log", "64", "crop", "0.2"),
    ]
