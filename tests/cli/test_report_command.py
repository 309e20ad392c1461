"""Tests of `report` and `compare`: the files, the attachment in MLflow and the list of missing parts."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from PIL import Image

from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.records.record import State
from tests.support.confirmed_search import write_confirmation
from tests.support.processes import Command
from tests.support.records import CELL, make_record, make_search


@pytest.fixture
def confirmed() -> SearchFolder:
    records = [make_record(number, family=family) for family in ("lkca", "vit") for number in range(3)]
    folder = make_search("made", records, "factors.data_fraction=[0.1]")
    write_confirmation(folder)
    return folder


def test_a_report_is_a_page_figures_tables_and_data(confirmed: SearchFolder, command: Command) -> None:
    code, out, err = command("report", "made", "--no-mlflow")
    assert (code, err) == (0, "")
    assert isinstance(confirmed.root, Path)
    folder = confirmed.root / "report"
    assert "With 129 training images (10%), the configuration found for lkca is ahead of that for vit by" in out
    assert str(folder / "report.html") in out
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert written >= {"report.html", "data/trials.parquet", "data/curves.parquet", "data/replicates.parquet"}
    for name in ("learning_curves", "differences"):
        assert {f"figures/{name}.{kind}" for kind in ("png", "svg", "pdf")} <= written
        with Image.open(folder / "figures" / f"{name}.png") as image:
            assert min(image.size) > 900
        assert (folder / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert "<svg" in (folder / "figures" / f"{name}.svg").read_text()
    contrasts = pd.read_csv(folder / "tables" / "contrasts.csv")
    assert contrasts["difference, points"].to_list() == pytest.approx([20 - 0.6])
    assert contrasts["verdict"].to_list() == ["ahead"]
    assert (folder / "tables" / "contrasts.md").read_text().startswith("| other | training images |")
    assert r"\begin{tabular}" in (folder / "tables" / "contrasts.tex").read_text()
    assert pq.read_table(folder / "data" / "replicates.parquet").num_rows == 6


def test_the_json_output_names_the_cells_of_each_contrast(confirmed: SearchFolder, command: Command) -> None:
    printed = json.loads(command("report", "made", "--json", "--no-mlflow").out)
    (contrast,) = printed["contrasts"]
    assert (contrast["reference_cell"], contrast["other_cell"]) == (CELL, CELL.replace("lkca", "vit"))
    assert contrast["paired"]["difference"]["value"] == pytest.approx(19.4)
    assert (printed["round"], contrast["verdict"]) == (1, "ahead")
    assert Path(printed["files"][0]).name == "report.html"


def test_the_page_and_its_key_figures_are_attached_to_the_mlflow_run_of_the_search(
    confirmed: SearchFolder, command: Command
) -> None:
    assert command("sync", "made").code == 0
    assert command("report", "made").code == 0
    assert command("report", "made").code == 0, "a second report replaces the first"
    client = MlflowClient(tracking_uri=f"sqlite:///{Home.from_environment().mlflow_database}")
    experiment = client.get_experiment_by_name("lkca-search")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.kind = 'search'")
    assert "report.html" in {file.path for file in client.list_artifacts(run.info.run_id)}
    attached = Path(client.download_artifacts(run.info.run_id, "report.html")).read_bytes()
    assert attached == (Path(str(confirmed.root)) / "report" / "report.html").read_bytes()
    assert run.data.metrics["test_accuracy/difference lkca - vit at 129"] == pytest.approx(0.194), "a share, as all"
    of_means = [name for name in run.data.metrics if name.startswith("test_accuracy/") and "difference" not in name]
    assert len(of_means) == 2
    assert max(run.data.metrics[name] for name in of_means) <= 1
    known = {
        child.data.tags["lkca.trial_id"]: child.info.run_id
        for child in client.search_runs([experiment.experiment_id], "tags.kind != 'search'")
    }
    rows = pd.read_parquet(Path(str(confirmed.root)) / "report" / "data" / "mlflow_runs.parquet")
    assert dict(zip(rows.trial_id, rows.run_id, strict=True)) == known
    assert known[f"{CELL}/1"].encode() in attached
    assert str(confirmed.home.root).encode() not in attached, "a page that is shared has no path"


def test_a_report_without_its_run_names_the_store_that_has_the_runs_of_the_search(
    confirmed: SearchFolder, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("sync", "made").code == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    code, _, err = command("report", "made")
    assert code == 1
    assert "whose runs are in the database of the home. Either unset MLFLOW_TRACKING_URI; or send" in err
    assert not (tmp_path / "other.db").exists()
    (confirmed.root / "mlflow_store.json").write_bytes(b'{"uri": "http://127.0.0.1:22076"}')
    code, _, err = command("report", "made")
    assert code == 1
    assert (
        "it has no run of this search, whose runs are in the MLflow server http://127.0.0.1:22076. Either start it "
        "again, and set MLFLOW_TRACKING_URI=http://127.0.0.1:22076; or send all runs and models to this store too, by "
        "`lkca-search sync made`. Then repeat the command, or use --no-mlflow." in err
    )
    assert command("sync", "made").code == 0
    assert command("report", "made").code == 0
    assert "other.db" in (confirmed.root / "mlflow_store.json").read_bytes().decode()


def test_a_search_that_an_earlier_version_has_reported_keeps_its_names_and_gets_no_second_ones(
    confirmed: SearchFolder, command: Command
) -> None:
    assert command("sync", "made").code == 0
    client = MlflowClient(tracking_uri=f"sqlite:///{Home.from_environment().mlflow_database}")
    (run,) = client.search_runs(["1"], "tags.kind = 'search'")
    client.log_metric(run.info.run_id, "difference lkca - vit at 129", 12.0)
    assert command("report", "made").code == 0
    metrics = client.get_run(run.info.run_id).data.metrics
    assert {name: value for name, value in metrics.items() if "difference" in name} == {
        "difference lkca - vit at 129": pytest.approx(19.4)
    }


def test_a_report_that_cannot_be_attached_is_still_written(
    confirmed: SearchFolder, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = command("report", "made")
    assert code == 1
    assert "not attached in MLflow: it has no run of this search; run `lkca-search sync made`" in err
    assert (Path(str(confirmed.root)) / "report" / "report.html").is_file()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    code, _, err = command("report", "made")
    assert code == 1
    assert "not attached in MLflow" in err
    assert "secret" not in err


def test_a_server_that_fails_gets_one_request_per_report(
    confirmed: SearchFolder, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[str] = []

    class Broken(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(500)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        code, _, err = command("report", "made")
        server.shutdown()
    assert code == 1
    assert "responds with HTTP 500" in err
    assert len(requests) == 1, requests


def test_the_report_of_an_unfinished_search_lists_the_missing_parts(command: Command) -> None:
    make_search("made", [make_record(0), make_record(1, state=State.FAIL)])
    code, out, _ = command("report", "made", "--no-mlflow")
    assert code == 0
    assert "- 10 trials of the budget are not finished, so cells were not searched equally." in out
    assert "- Nothing is confirmed yet" in out


def test_a_search_without_trials_has_a_report(command: Command) -> None:
    make_search("made")
    code, out, _ = command("report", "made", "--no-mlflow")
    assert code == 0
    assert "- 12 trials of the budget are not finished" in out


def test_an_unknown_round_or_search_ends_with_code_2(confirmed: SearchFolder, command: Command) -> None:
    code, _, err = command("report", "made", "--round", "2")
    assert code == 2
    assert "round of search 'made' must be one of 1, got 2" in err
    assert command("report", "other").code == 2


def test_two_searches_are_compared_in_the_cells_that_both_have_confirmed(
    confirmed: SearchFolder, command: Command
) -> None:
    records = [make_record(number, family=family, search="other") for family in ("lkca", "vit") for number in range(3)]
    write_confirmation(make_search("other", records, "factors.data_fraction=[0.1]"))
    code, out, _ = command("compare", "made", "other")
    assert code == 0
    assert out.splitlines()[0].split() == ["cell", "training", "images", *out.splitlines()[0].split()[3:]]
    assert f"{CELL} " in out
    printed = json.loads(command("compare", "made", "other", "--json").out)
    assert [each["paired"]["difference"]["value"] for each in printed["contrasts"]] == [0, 0]
    assert {each["verdict"] for each in printed["contrasts"]} == {"undecided"}
    assert printed["left_out"] == []
    assert printed["differences"] == printed["unpaired"] == []
    make_search("bare")
    code, _, err = command("compare", "made", "bare")
    assert code == 2
    assert "search 'bare' is not confirmed, so it has no test accuracy to compare" in err


def test_searches_of_different_training_are_compared_only_on_request_with_the_differences_above_the_table(
    confirmed: SearchFolder, command: Command
) -> None:
    records = [make_record(number, family=family, search="other") for family in ("lkca", "vit") for number in range(3)]
    changes = ("factors.data_fraction=[0.1]", "training.steps=40", "search.seed=1")
    write_confirmation(make_search("other", records, *changes))
    code, out, err = command("compare", "made", "other")
    assert (code, out) == (2, "")
    assert "  training.steps: 20 in made, 40 in other" in err
    code, out, _ = command("compare", "made", "other", "--allow-differences")
    assert code == 0
    assert out.splitlines()[:5] == [
        "! Different data or training, so a difference in accuracy may have this reason:",
        "  training.steps: 20 in made, 40 in other",
        "",
        "Different space or search:",
        "  search.seed: 0 in made, 1 in other",
    ]
    printed = json.loads(command("compare", "made", "other", "--allow-differences", "--json").out)
    assert [each["name"] for each in printed["differences"]] == ["training.steps", "search.seed"]
    code, _, err = command("compare", "made", "made")
    assert code == 2
    assert "compare needs two searches, got 'made' and 'made', which are one search" in err


def test_a_report_and_a_comparison_of_published_results_print_what_those_of_the_search_do(
    confirmed: SearchFolder, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = command("publish", "made", "--to", str(tmp_path / "results"))
    assert (code, err) == (0, "")
    assert out.endswith(f"report  lkca-search report {tmp_path / 'results'}\n")
    expected = json.loads(command("report", "made", "--no-mlflow", "--json")[1])
    monkeypatch.setenv("LKCA_SEARCH_HOME", str(tmp_path / "another machine"))
    code, out, err = command("report", str(tmp_path / "results"), "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [found.pop("files")[0], expected.pop("files") and None] == [
        str(tmp_path / "results/report/report.html"),
        None,
    ]
    assert found == expected
    monkeypatch.chdir(tmp_path)
    assert command("report", "results")[0] == 2  # a name without a slash is that of a search
    code, out, err = command("report", "./other")
    assert (code, "must have the file records.parquet, got ./other" in err) == (2, True)
    assert command("report", "./results", "--to", "again")[0] == 0
    code, out, err = command("compare", "./results", "./results")
    assert (code, "are one search" in err) == (2, True)


def test_a_damaged_search_is_not_published(confirmed: SearchFolder, command: Command, tmp_path: Path) -> None:
    path = confirmed.trial(f"{CELL}/0").record
    assert path is not None
    write_atomically(path, path.read_bytes()[:100])
    code, out, err = command("publish", "made", "--to", str(tmp_path / "results"))
    assert (code, out) == (2, "")
    assert "repair made" in err
    assert list((tmp_path / "results").iterdir()) == []
