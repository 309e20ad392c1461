"""View of a search on MLflow's page of runs."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lkca_search.layout import Home
from lkca_search.spec.space_file import read_space_file
from lkca_search.tracking.experiment import open_client, open_experiment
from lkca_search.tracking.pages.saved_view import VIEW_TAG, ViewKind, save_view, view_page, view_state

SHIPPED = sorted(Path("search_spaces").glob("*.yaml"))
MAX_TAG = 5000
"""Longest tag of an experiment in MLflow."""


def state_of(path: Path, kind: ViewKind = "trial", *overrides: str) -> dict[str, object]:
    return dict(view_state(read_space_file(path, overrides).spec, path.stem, kind))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
@pytest.mark.parametrize("kind", ["trial", "replicate"])
def test_the_view_of_every_shipped_search_fits_into_a_tag_and_begins_with_the_value_that_orders_it(
    path: Path, kind: ViewKind
) -> None:
    state = state_of(path, kind)
    columns = state["selectedColumns"]
    assert isinstance(columns, list)
    assert len(json.dumps(state)) < MAX_TAG
    assert columns[0] == state["orderByKey"]
    assert columns == state["columnOrder"]
    assert len(columns) == len(set(columns))


def test_the_columns_are_the_names_that_differ_between_trials() -> None:
    state = state_of(Path("search_spaces/quickstart.yaml"))
    assert state["selectedColumns"] == [
        "metrics.`val_accuracy`",
        *("params.`family`", "params.`data_fraction`", "metrics.`num_train_images`"),
        *(f"params.`{name}`" for name in ("kernel_size", "depth", "width", "learning_rate")),
        "metrics.`num_parameters`",
    ]
    assert state["searchFilter"] == "tags.search = 'quickstart' AND tags.kind = 'trial'"


def test_a_loss_is_ordered_from_its_smallest_value() -> None:
    path, loss = Path("search_spaces/quickstart.yaml"), ("search.metric=val_loss", "search.goal=minimize")
    assert (state_of(path)["orderByAsc"], state_of(path, "trial", *loss)["orderByAsc"]) == (False, True)
    assert state_of(path, "replicate", *loss)["orderByAsc"] is False, "test accuracy leads"


def test_a_view_is_written_once_and_again_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(root=tmp_path)
    client = open_client(home).client
    experiment = open_experiment(client, home)
    spec = read_space_file(Path("search_spaces/quickstart.yaml"), ()).spec
    written, write = [], MlflowClient.set_experiment_tag

    def set_experiment_tag(self: MlflowClient, experiment: str, key: str, value: str) -> None:
        written.append(key)
        write(self, experiment, key, value)

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", set_experiment_tag)
    for name in ("toy", "toy", "renamed"):
        key = save_view(client, experiment, spec, uid="0" * 32, search=name, kind="trial")
        state = json.loads(client.get_experiment(experiment).tags[VIEW_TAG + key])
        assert state["searchFilter"].startswith(f"tags.search = '{name}'")
    assert written == [VIEW_TAG + key] * 2
    assert view_page(experiment, key).endswith(f"viewStateShareKey={key}")
