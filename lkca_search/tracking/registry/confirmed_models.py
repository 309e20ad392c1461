"""Models of a search to register: one per replicate with kept weights, and the cards that describe them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lkca_search.paths import AnyPath
from lkca_search.records.model_description import ModelDescription
from lkca_search.records.record import Record


@dataclass(frozen=True, kw_only=True)
class ModelCards:
    """Texts in Markdown for the people who use the models, and the aliases by which they find them."""

    search: str
    """Description of the registered model: data, protocol, results and limits."""
    replicates: Mapping[str, str]
    """Description of each version, by replicate id."""
    aliases: Mapping[str, str]
    """Replicate id by alias: `champion`, and one alias per cell."""


@dataclass(frozen=True, kw_only=True)
class ConfirmedModel:
    """Replicate and its kept model."""

    record: Record
    """Complete record of the replicate."""
    name: str
    """Name of the logged model."""
    seal: str
    """Seal of the round that the replicate belongs to."""
    folder: AnyPath
    """Folder with the weights and their description."""
    description: ModelDescription
    """Description in this folder."""

    @property
    def key(self) -> tuple[str, str]:
        """Replicate id and hash of the weights, by which MLflow's entities are found again."""
        return self.record.trial_id, self.description.weights_sha256


@dataclass(frozen=True, kw_only=True)
class ConfirmedModels:
    """Models of all complete rounds of a search."""

    name: str
    """Name of the search, and of its registered model."""
    uid: str
    """Unique id of the search."""
    seal: str
    """Seal of the latest complete round, which decides the aliases."""
    damage: Sequence[str] = ()
    """Line per model that is left out since its description is damaged."""
    models: Sequence[ConfirmedModel]
    """Models by cell, trial, draw and seed."""
    write_cards: Callable[[str], ModelCards]
    """Function that computes the cards of the registered model with a name. It reads all predictions, so it is called
    only if a model is missing."""
