"""Views of a search on MLflow's page of runs."""

import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

from lkca_search.records.record import Record, State
from lkca_search.records.search.uid import SEARCH_UID
from lkca_search.spec.space_file import read_space_file
from lkca_search.tracking.pages.saved_view import VIEW_TAG, ViewKind, save_views, view_state
from lkca_search.tracking.search_run.order import ORDER, ORDER_OF_SEARCH, ORDER_WITHOUT_RESULT, order_of
from lkca_search.tracking.search_run.search_run import SearchRun
from tests.support.tracking.recorded import make_record, make_result, open_store, start_of

SHIPPED = sorted(Path("search_spaces").glob("*.yaml"))
QUICKSTART = Path("search_spaces/quickstart.yaml")
MAX_TAG = 5000
"""Longest tag of an experiment in MLflow."""


def state_of(path: Path, kind: ViewKind = "trials", *overrides: str, is_placed: bool = True) -> dict[str, object]:
    return dict(view_state(read_space_file(path, overrides).spec, path.stem, kind, is_placed=is_placed))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
@pytest.mark.parametrize("kind", get_args(ViewKind))
def test_the_view_of_every_shipped_search_fits_into_a_tag_and_has_a_section_per_chart(
    path: Path, kind: ViewKind
) -> None:
    state = state_of(path, kind)
    columns, charts, sections = (state[name] for name in ("selectedColumns", "compareRunCharts", "compareRunSections"))
    assert isinstance(columns, list)
    assert isinstance(charts, list)
    assert isinstance(sections, list)
    assert len(json.dumps(state)) < MAX_TAG
    assert columns == state["columnOrder"]
    assert len(columns) == len(set(columns))
    assert len({chart["uuid"] for chart in charts}) == len(charts)
    assert {chart["metricSectionId"] for chart in charts} == {section["uuid"] for section in sections}
    assert state_of(path, kind, is_placed=False)["orderByKey"] == columns[0]


def test_the_columns_are_the_names_that_differ_between_trials() -> None:
    state = state_of(QUICKSTART)
    assert state["selectedColumns"] == [
        *("metrics.`val_accuracy`", "metrics.`num_validation_images`"),
        *("params.`family`", "params.`data_fraction`", "metrics.`num_train_images`"),
        *(f"params.`{name}`" for name in ("kernel_size", "depth", "width", "learning_rate")),
        "metrics.`num_parameters`",
    ]


def test_a_search_whose_runs_have_no_places_is_ordered_by_the_metric() -> None:
    loss = ("search.metric=val_loss", "search.goal=minimize")
    states = [state_of(QUICKSTART, "trials", *overrides, is_placed=False) for overrides in ((), loss)]
    assert [(state["orderByKey"], state["orderByAsc"]) for state in states] == [
        ("metrics.`val_accuracy`", False),
        ("metrics.`val_loss`", True),
    ]
    assert all(state["searchFilter"] == "tags.search = 'quickstart' AND tags.kind = 'trial'" for state in states)
    state = state_of(QUICKSTART, "replicates", *loss, is_placed=False)
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`test_accuracy`", False), "test accuracy leads"


def test_curves_are_grouped_by_family_and_size_and_parallel_coordinates_leave_out_no_family() -> None:
    state = state_of(QUICKSTART, "curves")
    assert state["groupBy"] == {
        "aggregateFunction": "average",
        "groupByKeys": [{"mode": "param", "groupByData": name} for name in ("family", "data_fraction")],
    }
    assert state["groupsExpanded"] == {
        f"param.family.{family},param.data_fraction.{fraction}": False
        for family in ("lkca", "vit")
        for fraction in (0.1, 1.0)
    }
    charts = state_of(QUICKSTART, "charts")["compareRunCharts"]
    assert isinstance(charts, list)
    (contour,) = (chart for chart in charts if chart["type"] == "CONTOUR")
    assert (contour["xaxis"]["key"], contour["yaxis"]["key"]) == ("data_fraction", "kernel_size")
    every, conditional = (chart["selectedParams"] for chart in charts if chart["type"] == "PARALLEL")
    assert set(conditional) - set(every) == {"kernel_size"}


@given(first=st.floats(allow_nan=False), second=st.floats(allow_nan=False), sign=st.sampled_from([1, -1]))
def test_the_order_of_runs_is_that_of_their_results(first: float, second: float, sign: int) -> None:
    places = [order_of(value, sign=sign) for value in (first, second)]
    assert (places[0] < places[1]) == (sign * first > sign * second)
    assert (places[0] == places[1]) == (first == second)
    assert all(ORDER_OF_SEARCH < place < ORDER_WITHOUT_RESULT == order_of(float("nan"), sign=sign) for place in places)


def test_trials_with_fewer_validation_images_are_below_all_others_of_their_dataset() -> None:
    spec = make_record("lkca/0").spec

    def place(value: float, *, fraction: float, is_scaled: bool = True, dataset: str | None = None) -> str:
        configuration = spec.configuration.model_copy(update={"data_fraction": fraction, "dataset": dataset})
        data = spec.data.model_copy(update={"scale_validation": is_scaled})
        images = spec.model_copy(update={"configuration": configuration, "data": data})
        return order_of(value, sign=1, images=images)

    assert place(0.5, fraction=1.0) < place(0.4, fraction=1.0) < place(1.0, fraction=0.1) < ORDER_WITHOUT_RESULT
    equal = [place(value, fraction=fraction, is_scaled=False) for value, fraction in ((1.0, 0.1), (0.5, 1.0))]
    assert equal == [order_of(value, sign=1) for value in (1.0, 0.5)], "equal validation images rank all trials"
    datasets = [place(value, fraction=1.0, dataset=name) for value, name in ((0.2, "a"), (0.1, "a"), (0.9, "b"))]
    assert sorted(datasets) == datasets


def with_result(record: Record, accuracy: float) -> Record:
    last = make_result(9).model_copy(update={"val_accuracy": accuracy})
    return record.model_copy(update={"curve": (*record.curve, last), "value": accuracy})


def listed(run: SearchRun, kind: ViewKind) -> list[str]:
    """Return the names of the search's runs that a saved view lists, in its order."""
    uid = run.tags[SEARCH_UID]
    state = json.loads(run.client.get_experiment(run.experiment).tags[f"{VIEW_TAG}{uid[:16]}-{kind}"])
    order = f"{state['orderByKey']} {'ASC' if state['orderByAsc'] else 'DESC'}"
    found = run.client.search_runs([run.experiment], state["searchFilter"], order_by=[order])
    return [str(each.info.run_name) for each in found if each.data.tags[SEARCH_UID] == uid]


def test_a_table_begins_with_the_run_of_the_search_and_lists_running_trials_by_their_last_result(
    root: Path, uid: str
) -> None:
    store = open_store(root, uid=uid)
    store.search_run.tags["search"] = "study"
    for number, accuracy in enumerate((0.2, 0.9, 0.5)):
        store.finish(with_result(make_record(f"lkca/{number}"), accuracy))
    store.finish(make_record("lkca/3", state=State.FAIL, num_results=0, error="boom"))
    running = with_result(make_record("lkca/4"), 0.7)
    store.update_running(start_of(running), running.curve)
    store.update_running(start_of(make_record("lkca/5")))
    spec = read_space_file(QUICKSTART).spec
    save_views(store.search_run, spec, search="study", is_confirmed=False)
    found = listed(store.search_run, "trials")
    assert found[:5] == ["study", *(f"lkca #{number}" for number in (1, 4, 2, 0))]
    assert set(found[5:]) == {"lkca #3", "lkca #5"}


def test_a_view_is_written_once_and_again_when_it_has_changed(
    root: Path, uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_store(root, uid=uid).search_run
    spec = read_space_file(QUICKSTART).spec
    written, write = [], MlflowClient.set_experiment_tag

    def set_experiment_tag(self: MlflowClient, experiment: str, key: str, value: str) -> None:
        written.append(key)
        write(self, experiment, key, value)

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", set_experiment_tag)
    write(run.client, run.experiment, "mlflow.note.content", "mine")
    for name in ("toy", "toy", "renamed"):
        pages = save_views(run, spec, search=name, is_confirmed=True)
        assert [*pages] == [*get_args(ViewKind), "search"]
        for kind in get_args(ViewKind):
            key = f"{uid[:16]}-{kind}"
            state = json.loads(run.client.get_experiment(run.experiment).tags[VIEW_TAG + key])
            assert state["searchFilter"].startswith(f"tags.search = '{name}'")
            assert f"viewStateShareKey={key}" in pages[kind]
    views = [f"{VIEW_TAG}{uid[:16]}-{kind}" for kind in get_args(ViewKind)]
    assert written == [*views, *views]
    assert run.client.get_experiment(run.experiment).tags["mlflow.note.content"] == "mine", "a user's text stays"


def test_the_runs_of_an_earlier_version_get_their_places_when_they_are_sent_again(root: Path, uid: str) -> None:
    store = open_store(root, uid=uid)
    records = [with_result(make_record(f"lkca/{number}"), accuracy) for number, accuracy in enumerate((0.2, 0.9))]
    for record in records:
        store.finish(record)
    client, parent = store.client, store.search_run.run_id
    for run_id in (parent, *(store.run_id(record.trial_id) for record in records)):
        client.delete_tag(run_id, ORDER)
    opened = open_store(root, uid=uid)
    opened.mark_sent([record.trial_id for record in records])
    assert ORDER not in client.get_run(parent).data.tags
    assert not any(opened.is_current(record.trial_id) for record in records)
    before = client.get_run(opened.run_id("lkca/0")).data.params
    for record in records:
        opened.finish(record)
    opened.mark_sent([record.trial_id for record in records])
    assert client.get_run(parent).data.tags[ORDER] == ORDER_OF_SEARCH
    assert client.get_run(opened.run_id("lkca/0")).data.params == before
    assert open_store(root, uid=uid).is_current("lkca/0")
