"""Every command that takes one model by the name of a search takes its champion, which MLflow's alias names."""

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lkca_search import SearchError, load_search
from lkca_search.analysis.search_results import SearchResults
from lkca_search.inference.replicate_choice import choose_record
from lkca_search.layout import MODEL, Home
from lkca_search.paths import sqlite_url
from lkca_search.records.model_description import model_folder
from lkca_search.records.record import Record, RecordReader
from lkca_search.search.rerun.sources import read_source
from lkca_search.tracking.reruns.recorded_runs import read_recorded_run
from tests.support.processes import Command
from tests.support.tracking.confirmed import make_confirmed, sync, write_search

LKCA, VIT = "family=lkca,data_fraction=0.1", "family=vit,data_fraction=0.1"


def with_values(results: SearchResults) -> SearchResults:
    """Return results whose best trial is of LKCA, and whose best replicates, on the last draw, are of ViT."""

    def changed(record: Record, value: float) -> Record:
        last = record.curve[-1].model_copy(update={"val_accuracy": value})
        return record.model_copy(update={"curve": (*record.curve[:-1], last), "value": value})

    def draw(record: Record) -> int:
        assert record.replicate is not None
        return record.replicate.draw

    return replace(
        results,
        trials=[changed(each, 0.9 if each.cell == LKCA else 0.8) for each in results.trials],
        replicates=[
            changed(each, (0.7 if each.cell == VIT else 0.6) + draw(each) / 100) for each in results.replicates
        ],
    )


RESULTS = with_values(make_confirmed(draws=3))
CHAMPION, SECOND = (
    next(each for each in RESULTS.replicates if each.cell == VIT and each.trial_id.endswith(f"draw={draw},seed=0"))
    for draw in (3, 2)
)


def test_the_name_of_a_search_is_its_champion_everywhere(tmp_path: Path, command: Command) -> None:
    folder = write_search(tmp_path / "home", RESULTS)
    assert sync(folder).fault is None
    client = MlflowClient(tracking_uri=sqlite_url(folder.home.mlflow_database))
    assert client.get_model_version_by_alias("made", "champion").tags["lkca.trial_id"] == CHAMPION.trial_id
    home, reader = Home.from_environment(), RecordReader(folder)
    of_lkca = CHAMPION.trial_id.replace("vit", "lkca")
    assert choose_record(folder, None, reader) == CHAMPION
    assert choose_record(folder, VIT, reader) == CHAMPION
    assert choose_record(folder, LKCA, reader).trial_id == of_lkca
    assert load_search("made").champion() == load_search("made").champion(VIT) == CHAMPION
    assert load_search("made").champion(LKCA).trial_id == of_lkca
    assert load_search("made").best().cell == LKCA
    assert read_source("made", None, home).repeats.trial_id == CHAMPION.trial_id
    assert read_recorded_run(home, "made").record == CHAMPION
    answer = command("best", "made")
    assert f"champion {CHAMPION.trial_id}: " in answer.out


def test_a_replicate_without_a_kept_model_is_no_champion_unless_no_model_is_kept(tmp_path: Path) -> None:
    folder = write_search(tmp_path / "home", RESULTS)
    (model_folder(folder, CHAMPION) / MODEL).unlink()
    assert choose_record(folder, None, RecordReader(folder)) == load_search("made").champion() == SECOND
    for record in RESULTS.replicates:
        (model_folder(folder, record) / MODEL).unlink(missing_ok=True)
    assert load_search("made").champion() == CHAMPION
    with pytest.raises(SearchError, match="has no kept model"):
        choose_record(folder, None, RecordReader(folder))


def test_there_is_no_champion_before_a_round_is_complete(tmp_path: Path) -> None:
    folder = write_search(tmp_path / "home", RESULTS)
    (model_folder(folder, SECOND) / "record.json").unlink()
    with pytest.raises(SearchError, match="has no champion"):
        load_search("made").champion()
    assert choose_record(folder, None, RecordReader(folder)).cell == LKCA, "the first replicate of the best trial"
    best = load_search("made").best()
    assert read_source("made", None, Home.from_environment()).repeats.trial_id == best.trial_id
