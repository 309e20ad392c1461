"""Registered model of a search: one version per confirmed model, aliases, and the model card as its description.

Versions are found again by their tags, so a repeated command registers nothing twice.
"""

import hashlib
import json
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.entities.model_registry import RegisteredModel as Registered
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from lkca_search.records.search.uid import SEARCH_UID
from lkca_search.tracking.registry.logged_models import WEIGHTS_SHA256
from lkca_search.tracking.runs import TRIAL_ID, find_runs

_COMPLETE = "lkca.registered_round"
"""Tag with the seal of the latest round whose models are all registered."""
_CARD = "lkca.card"
"""Tag with the hash of the description that was written; a description that a user has changed stays."""
_MISSING = "RESOURCE_DOES_NOT_EXIST"
_PAGE = 1000


class RegisteredModel:
    """Registered model of one search. Every method may raise an error of the store, and can then be called again."""

    def __init__(self, client: MlflowClient, experiment: str, *, search: str, uid: str) -> None:
        """Find the registered model of a search by its name, or by its unique id if a user has renamed it.

        Nothing is created yet. The name is that of the search. If a registered model of that name belongs to another
        search or program, it ends with the first characters of the unique id.
        """
        self._client = client
        self._tags = {SEARCH_UID: uid, "search": search}
        self._runs = find_runs(client, experiment, f"tags.`{SEARCH_UID}` = '{uid}' AND tags.kind = 'search'")
        self.name = search
        self._registered = self._find(search)
        if self._registered is None or self._registered.tags.get(SEARCH_UID) != uid:
            self.name = search if self._registered is None else f"{search}-{uid[:8]}"
            self._registered = next(iter(client.search_registered_models(f"tags.`{SEARCH_UID}` = '{uid}'")), None)
        if self._registered is not None:
            self.name = str(self._registered.name)
        self._versions: dict[tuple[str, str], ModelVersion] | None = None

    def has_round(self, seal: str) -> bool:
        """Return True if all models of a round were registered, also if a user has deleted them since."""
        in_runs = [run.data.tags.get(_COMPLETE) == seal for run in self._runs]
        if self._registered is not None and self._registered.tags.get(_COMPLETE) == seal:
            if not all(in_runs):  # the registration ended before its last step
                self._mark_runs(seal)
            return True
        return self._registered is None and any(in_runs)

    @property
    def is_missing(self) -> bool:
        """True if MLflow has no registered model of the search."""
        return self._registered is None

    def open(self) -> None:
        """Create the registered model if it is missing, and find its versions. Duplicates are deleted."""
        if self._registered is None:
            self._registered = self._client.create_registered_model(self.name, self._tags)
        self._versions = {}
        for version in sorted(self._search(), key=lambda version: int(version.version)):
            key = version.tags.get(TRIAL_ID, ""), version.tags.get(WEIGHTS_SHA256, "")
            if key in self._versions and all(key):
                self._client.delete_model_version(self.name, str(version.version))
            else:
                self._versions[key] = version

    def add(self, key: tuple[str, str], model: LoggedModel, *, card: str, tags: dict[str, str]) -> None:
        """Register a logged model as a version with a description, if there is none yet."""
        assert self._versions is not None
        if key not in self._versions:
            self._versions[key] = self._client.create_model_version(
                self.name,
                # MLflow searches `models:/ID` in its global store, which a driver does not set.
                model.artifact_location,
                model.source_run_id,
                tags=tags,
                description=card,
                await_creation_for=0,
                model_id=model.model_id,
            )
        self._link(model, str(self._versions[key].version))

    def describe(self, card: str) -> None:
        """Set the description, unless this text was set before."""
        assert self._registered is not None
        digest = hashlib.sha256(card.encode()).hexdigest()
        if self._registered.tags.get(_CARD) != digest:
            self._client.update_registered_model(self.name, card)
            self._client.set_registered_model_tag(self.name, _CARD, digest)

    def set_aliases(self, keys: Mapping[str, tuple[str, str]]) -> None:
        """Point each alias at the version of a model. Other aliases are not changed."""
        assert self._registered is not None
        assert self._versions is not None
        present = {alias: str(version) for alias, version in self._registered.aliases.items()}
        for alias, key in keys.items():
            version = str(self._versions[key].version)
            if present.get(alias) != version:
                self._client.set_registered_model_alias(self.name, alias, version)

    def mark_round(self, seal: str) -> None:
        """State that all models of a round are registered. The run of the search states it if the model is deleted."""
        self._client.set_registered_model_tag(self.name, _COMPLETE, seal)
        self._mark_runs(seal)

    def _mark_runs(self, seal: str) -> None:
        for run in self._runs:
            self._client.set_tag(run.info.run_id, _COMPLETE, seal)

    def _link(self, model: LoggedModel, version: str) -> None:
        """Show the version on the page of the logged model, as servers do and databases do not."""
        links = json.loads(model.tags.get(MLFLOW_MODEL_VERSIONS) or "[]")
        if (self.name, version) not in {(link.get("name"), str(link.get("version"))) for link in links}:
            links.append({"name": self.name, "version": version})
            self._client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(links)})

    def _find(self, name: str) -> Registered | None:
        try:
            return self._client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code == _MISSING:
                return None
            raise

    def _search(self) -> list[ModelVersion]:
        versions: dict[str, ModelVersion] = {}
        token: str | None = ""
        while token is not None:
            page = self._client.search_model_versions(
                f"name = '{self.name}'", max_results=_PAGE, page_token=token or None
            )
            versions |= {str(version.version): version for version in page}
            token = page.token or None
        return list(versions.values())
