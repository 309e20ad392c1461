"""Recorded trainings are read from an MLflow store, and a rerun leaves a run there that no search counts."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lkca_search.errors import SearchError, UserError
from lkca_search.layout import Home
from lkca_search.records.record import Record, State, TestResult
from lkca_search.records.rerun import Repeated, RerunOutcome, RerunRecord, Verdict
from lkca_search.records.trial import Replication
from lkca_search.search.rerun.sources import read_source
from lkca_search.tracking.mlflow_store import MLflowStore
from lkca_search.tracking.reruns.recorded_runs import read_recorded_run
from lkca_search.tracking.reruns.rerun_run import log_rerun
from tests.support.tracking.recorded import make_record, open_store, read_stored, start_of

PACKAGES = {"numpy": "2.0", "attrs": "1"}
HASH = "0" * 16


def replicate(record: Record, draw: int, seed: int, *, state: State = State.COMPLETE) -> Record:
    """Return a replicate of a trial."""
    replication = Replication(of=record.trial_id, draw=draw, seed=seed)
    test = TestResult(num_images=9, data_hash="t" * 64, loss=1.0, accuracy=0.5)
    update = {"trial_id": replication.replicate_id, "replicate": replication, "metric": "test_accuracy", "state": state}
    configuration = record.spec.configuration.model_copy(update={"draw": draw})
    spec = record.spec.model_copy(update={"configuration": configuration})
    return record.model_copy(update={**update, "value": 0.5, "test": test, "spec": spec})


def with_packages(record: Record) -> Record:
    assert record.facts is not None
    provenance = record.facts.provenance.model_copy(update={"packages_hash": HASH})
    return record.model_copy(update={"facts": record.facts.model_copy(update={"provenance": provenance})})


@pytest.fixture
def best(root: Path, uid: str) -> Record:
    """Store a search with its best trial, another trial, and replicates; return the best trial."""
    best = with_packages(make_record("lkca/1"))
    store = MLflowStore(Home(root=root), uid=uid, name=uid, texts={}, read_provenance=lambda name: json.dumps(PACKAGES))
    replicates = [replicate(best, draw, seed) for draw in (1, 2) for seed in (0, 1)]
    failed, of_other = replicate(best, 3, 0, state=State.FAIL), replicate(make_record("lkca/0"), 1, 0)
    for record in (make_record("lkca/0"), best, *replicates, failed, of_other):
        store.finish(record)
    store.end_search(complete=True, best=best)
    return best


def run_ids(uri: str, uid: str) -> dict[str, str]:
    client = MlflowClient(tracking_uri=uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, f"tags.`lkca.search_uid` = '{uid}'")
    return {run.data.tags.get("lkca.trial_id", "search"): run.info.run_id for run in runs}


def make_rerun(record: Record, repeats: Repeated, *, verdict: Verdict = Verdict.IDENTICAL) -> RerunRecord:
    assert record.facts is not None
    outcome = RerunOutcome(
        trial_id=record.trial_id,
        metric="val_accuracy",
        is_repeat=True,
        recorded=0.5,
        value=0.5,
        difference=0.0,
        step=3,
        verdict=verdict,
        reason="all are equal",
        seed=record.spec.seed,
        draw=0,
        edits=(),
        changes=(),
    )
    return RerunRecord(
        repeats=repeats,
        outcome=outcome,
        spec=record.spec,
        facts=record.facts,
        curve=record.curve,
        started=1.0,
        finished=2.0,
    )


def test_the_run_of_a_search_gives_its_best_trial_with_its_replicates_and_packages(
    root: Path, uid: str, uri: str, best: Record
) -> None:
    ids, home = run_ids(uri, uid), Home(root=root)
    for source in (uid, ids["search"], ids["lkca/1"], f"runs:/{ids['lkca/1']}", f"runs:/{ids['lkca/1']}/record.json"):
        found = read_recorded_run(home, source)
        assert (found.record, found.run_id, found.uid) == (best, ids["lkca/1"], uid)
        assert [(each.draw, each.seed) for each in found.replicates] == [(1, 0), (1, 1), (2, 0), (2, 1)]
        assert {each.value for each in found.replicates} == {best.curve[-1].val_accuracy}
        assert found.packages == PACKAGES


def test_a_trial_or_replicate_of_a_search_is_found_by_its_id(root: Path, uid: str, uri: str, best: Record) -> None:
    wanted = "lkca/1/draw=2,seed=1"
    for source in (uid, run_ids(uri, uid)["search"]):
        found = read_recorded_run(Home(root=root), source, wanted)
        assert (found.record.trial_id, len(found.replicates)) == (wanted, 4)


def test_a_registered_model_gives_the_training_of_its_run(root: Path, uid: str, uri: str, best: Record) -> None:
    client = MlflowClient(tracking_uri=uri)
    run_id = run_ids(uri, uid)["lkca/1/draw=1,seed=0"]
    client.create_registered_model(uid)
    version = client.create_model_version(uid, f"runs:/{run_id}/model", run_id)
    client.set_registered_model_alias(uid, "champion", version.version)
    for source in (f"models:/{uid}@champion", f"models:/{uid}/{version.version}"):
        assert read_recorded_run(Home(root=root), source).record.trial_id == "lkca/1/draw=1,seed=0"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "the MLflow store has no search 'nowhere'; searches there: "),
        ("f" * 32, f"the MLflow store has no {'f' * 32}"),
        ("models:/no-model@champion", "the MLflow store has no models:/no-model@champion"),
        ("models:/", "a model must be models:/NAME@ALIAS or models:/NAME/VERSION"),
        ("a' OR '1'='1", "the MLflow store has no search"),
    ],
    ids=["search", "run", "model", "uri", "condition"],
)
def test_a_source_that_is_not_there_is_an_error_with_what_is(
    source: str, message: str, root: Path, uid: str, best: Record
) -> None:
    with pytest.raises(SearchError) as caught:
        read_recorded_run(Home(root=root), source)
    assert message in str(caught.value)


def test_code_that_a_record_in_a_store_names_runs_only_if_it_is_trusted(
    root: Path, uid: str, uri: str, best: Record
) -> None:
    client, home, run_id = MlflowClient(tracking_uri=uri), Home(root=root), run_ids(uri, uid)["lkca/0"]
    for section, name in (("data", "dataset"), ("configuration", "family"), ("configuration", "optimizer")):
        plain = json.loads(make_record("lkca/0").model_dump_json())
        plain["spec"][section][name] = "shutil.rmtree"
        client.log_text(run_id, json.dumps(plain), "record.json")
        with pytest.raises(UserError, match=r"names code of its own, shutil\.rmtree.* --trust-own-code"):
            read_source(run_id, None, home)
        assert read_source(run_id, None, home, trusts_code=True).file.trial.own_code() == ["shutil.rmtree"]


def test_a_run_without_an_intact_record_is_an_error(root: Path, uid: str, uri: str, best: Record) -> None:
    ids, client, home = run_ids(uri, uid), MlflowClient(tracking_uri=uri), Home(root=root)
    client.log_text(ids["lkca/0"], '{"trial_id": "../../x"}', "record.json")
    with pytest.raises(SearchError, match=r"the artifact record.json of run .* must be a record: "):
        read_recorded_run(home, ids["lkca/0"])
    other = client.create_run(client.get_run(ids["search"]).info.experiment_id).info.run_id
    with pytest.raises(SearchError, match="a run must be of a search, a trial or a replicate"):
        read_recorded_run(home, other)
    start = open_store(root, uid=f"{uid}2")
    start.update_running(start_of(make_record("lkca/7")))
    with pytest.raises(SearchError, match=r"must have the artifact record.json, got none: .* lkca-search sync study"):
        read_recorded_run(home, run_ids(uri, f"{uid}2")["lkca/7"])


def test_a_rerun_is_a_run_of_its_kind_below_the_run_that_it_repeats(
    root: Path, uid: str, uri: str, best: Record
) -> None:
    home, client = Home(root=root), MlflowClient(tracking_uri=uri)
    original = run_ids(uri, uid)["lkca/1"]
    by_run = Repeated(search=uid, trial_id="lkca/1", uid=uid, mlflow_run=original)
    for repeats in (by_run, by_run.model_copy(update={"mlflow_run": None})):
        record = make_rerun(best, repeats)
        run = client.get_run(log_rerun(home, record))
        assert (run.info.status, run.info.run_name) == ("FINISHED", "rerun of lkca #1")
        tags = {"kind": "rerun", "mlflow.parentRunId": original, "lkca.rerun_of_run": original, "verdict": "identical"}
        assert (tags | {"lkca.rerun_of": "lkca/1"}).items() <= run.data.tags.items()
        assert run.data.params["seed"] == str(best.spec.seed)
        assert run.data.metrics["val_accuracy"] == best.curve[-1].val_accuracy
        file = client.download_artifacts(run.info.run_id, "rerun.json", str(root))
        assert RerunRecord.model_validate_json(Path(file).read_bytes()) == record
        again = read_recorded_run(home, run.info.run_id)
        assert again.record.trial_id == "lkca/1"  # the rerun of a rerun repeats the recorded training


def test_no_search_counts_a_rerun_as_a_trial(root: Path, uid: str, uri: str, best: Record) -> None:
    before = read_stored(uri, uid=uid)
    assert before is not None
    run_id = log_rerun(Home(root=root), make_rerun(best, Repeated(search=uid, trial_id="lkca/1", uid=uid)))
    for _ in range(2):
        store = MLflowStore(Home(root=root), uid=uid, name=uid, texts={})
        assert (store.running_trials, store.notices) == ([], ())
        after = read_stored(uri, uid=uid)
        assert after is not None
        assert after.trials.keys() == before.trials.keys()
        MlflowClient(tracking_uri=uri).delete_run(run_id)  # nor is a deleted one missing
