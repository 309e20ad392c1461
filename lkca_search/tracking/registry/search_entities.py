"""Everything of a search in MLflow, by its unique id: runs, logged models and the registered model.

All of it can be renamed and deleted. Each call can be repeated after an interruption.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.entities.model_registry import RegisteredModel

from lkca_search.errors import SearchError
from lkca_search.layout import Home
from lkca_search.paths import file_url
from lkca_search.records.search.uid import SEARCH_UID
from lkca_search.spec.base import FrozenModel
from lkca_search.tracking.connection import has_store, is_default_store, tracking_uri
from lkca_search.tracking.experiment import find_experiment, is_not_made, open_client
from lkca_search.tracking.faults import describe_fault
from lkca_search.tracking.runs import find_runs, find_runs_of, rename_runs

T = TypeVar("T")
_PAGE = 50


class TrackedSearch(FrozenModel):
    """Runs and models of a search in MLflow."""

    run_ids: tuple[str, ...]
    """Ids of the runs of trials and replicates, then that of the search."""
    model_ids: tuple[str, ...]
    """Ids of the logged models."""
    registered: tuple[str, ...]
    """Names of the registered models."""

    @property
    def is_empty(self) -> bool:
        """True if MLflow has nothing of the search."""
        return not (self.run_ids or self.model_ids or self.registered)


def find_tracked(home: Home, uid: str) -> TrackedSearch:
    """Return the runs and models of a search; SearchError if the store does not respond."""
    if is_not_made(home):
        return TrackedSearch(run_ids=(), model_ids=(), registered=())
    return _call(home, lambda client: _find(client, home, uid))


def delete_tracked(home: Home, tracked: TrackedSearch) -> None:
    """Delete runs and models of a search, the search's own run last; SearchError if the store does not respond.

    MLflow keeps deleted runs and their artifacts until its garbage collection: see `collection_command`.
    """

    def delete(client: MlflowClient) -> None:
        for name in tracked.registered:
            client.delete_registered_model(name)
        for model_id in tracked.model_ids:
            client.delete_logged_model(model_id)
        for run_id in tracked.run_ids:
            client.delete_run(run_id)

    if not tracked.is_empty:
        _call(home, delete)


def rename_tracked(home: Home, uid: str, name: str) -> int:
    """Give the runs and models of a search its new name; return the number of runs. SearchError as above."""
    if not has_store(home) or is_not_made(home):
        return 0
    return _call(home, lambda client: _rename(client, home, uid, name))


def rename_if_outdated(home: Home, uid: str, name: str) -> None:
    """Give the runs and models of a search its present name, if MLflow did not respond when it was renamed.

    Raises any error of the store.
    """
    if is_not_made(home):
        return
    client = open_client(home).client
    experiment = find_experiment(client, home)
    condition = f"tags.`{SEARCH_UID}` = '{uid}' AND tags.kind = 'search'"
    parents = find_runs(client, experiment, condition) if experiment else []
    if any(run.data.tags.get("search") != name for run in parents):
        _rename(client, home, uid, name)


def collection_command(home: Home) -> str:
    """Return the command of MLflow that frees the space of deleted runs."""
    artifacts = f" --artifacts-destination '{file_url(home.mlflow_artifacts)}'" if is_default_store() else ""
    uri = f"'{tracking_uri(home)}'" if is_default_store() else '"$MLFLOW_TRACKING_URI"'
    return f"mlflow gc --backend-store-uri {uri}{artifacts}"


def _rename(client: MlflowClient, home: Home, uid: str, name: str) -> int:
    """Rename the registered model, then the runs, that of the search last: its name shows that all have the new one."""
    for registered in _registered_models(client, uid):
        target = name if _is_free(client, name) else f"{name}-{uid[:8]}"
        if registered.name not in (name, target):
            client.rename_registered_model(registered.name, target)
            client.set_registered_model_tag(target, "search", name)
    experiment = find_experiment(client, home)
    runs = find_runs_of(client, experiment, uid) if experiment else []
    rename_runs(client, runs, name)
    return len(runs)


def _find(client: MlflowClient, home: Home, uid: str) -> TrackedSearch:
    experiment = find_experiment(client, home)
    runs = find_runs_of(client, experiment, uid) if experiment else []
    return TrackedSearch(
        run_ids=tuple(str(run.info.run_id) for run in runs),
        model_ids=tuple(_logged_models(client, experiment, uid)) if experiment else (),
        registered=tuple(str(model.name) for model in _registered_models(client, uid)),
    )


def _logged_models(client: MlflowClient, experiment: str, uid: str) -> Iterable[str]:
    token: str | None = None
    while True:
        page = client.search_logged_models(
            [experiment], f"tags.`{SEARCH_UID}` = '{uid}'", max_results=_PAGE, page_token=token
        )
        yield from (str(model.model_id) for model in page)
        if not (token := page.token):
            return


def _registered_models(client: MlflowClient, uid: str) -> list[RegisteredModel]:
    return list(client.search_registered_models(f"tags.`{SEARCH_UID}` = '{uid}'"))


def _is_free(client: MlflowClient, name: str) -> bool:
    return not client.search_registered_models(f"name = '{name}'")


def _call(home: Home, action: Callable[[MlflowClient], T]) -> T:
    """Return the result of an action on the store; SearchError with the remedy for any error."""
    try:
        return action(open_client(home).client)
    except Exception as error:  # any error of a store
        raise SearchError(f"MLflow: {describe_fault(error, home)}. Then repeat the command") from error
