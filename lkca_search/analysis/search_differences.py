"""Differences between two searches besides their results: settings of data and training, search, code and machine."""

from collections.abc import Iterator
from typing import Any, Literal, get_args

from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.provenance import Provenance
from lkca_search.spec.base import FrozenModel, find_differences

Kind = Literal["training", "search", "machine"]
"""Part of a search that differs.

`training`: data, validation images or training, for every configuration. Test accuracies then differ for this reason,
too. `search`: the space, the design, or the search of each cell. `machine`: code, versions or device.
"""
_TRAINING = ("data", "training")
_WITHOUT_EFFECT = (
    *(
        "search.goal",
        "search.also_measure",
        "search.max_retries",
        "search.checkpoint_seconds",
        "limits.hours",
        "limits.max_failures",
    ),
    *("resources", "confirm", "keep", "storage", "data.max_pixels"),
)
"""Sections and keys that change no result, or that a comparison takes from the records and the round."""
_WHOLE = ("search.sampler", "search.pruner", "search.metric")
"""Mappings that are shown as one value."""
_MACHINE = ("git_commit", "package_version", "torch_version", "device", "num_threads")


class SearchDifference(FrozenModel):
    """Setting or property that differs between two searches."""

    kind: Kind
    name: str
    """Key in the space file, or name of the property."""
    one: str
    """Value in the first search."""
    other: str
    """Value in the second search."""


def find_search_differences(one: SearchResults, other: SearchResults) -> tuple[SearchDifference, ...]:
    """Return everything in which two searches differ, by kind, except keys that change no result."""
    found = (*_training_images(one, other), *_settings(one, other), *_machines(one, other))
    return tuple(sorted(found, key=lambda difference: get_args(Kind).index(difference.kind)))


def _training_images(one: SearchResults, other: SearchResults) -> Iterator[SearchDifference]:
    hashes = _data_hashes(one), _data_hashes(other)
    if hashes[0] != hashes[1]:
        texts = [_join({hashed[:16] for hashed in each}) for each in hashes]
        yield SearchDifference(kind="training", name="content hash of the training split", one=texts[0], other=texts[1])


def _settings(one: SearchResults, other: SearchResults) -> Iterator[SearchDifference]:
    is_same_data = bool(_hashes_by_level(one)) and _hashes_by_level(one) == _hashes_by_level(other)
    for name, old, new in find_differences(one.spec, other.spec, whole=_WHOLE):
        sections = [name.rsplit(".", count)[0] for count in range(name.count(".") + 1)]
        is_place = name == "data.dataset" or name.startswith("data.sources")
        is_same_split = is_place and is_same_data  # the same images by another path
        if not is_same_split and not set(sections) & set(_WITHOUT_EFFECT):
            kind: Kind = "training" if name.split(".")[0] in _TRAINING else "search"
            yield SearchDifference(kind=kind, name=name, one=_format(old), other=_format(new))


def _machines(one: SearchResults, other: SearchResults) -> Iterator[SearchDifference]:
    for name in _MACHINE:
        values = _provenance(one, name), _provenance(other, name)
        if values[0] != values[1]:
            yield SearchDifference(kind="machine", name=name, one=_join(values[0]), other=_join(values[1]))


def _data_hashes(results: SearchResults) -> set[str]:
    return {data_hash for _, data_hash in _hashes_by_level(results)}


def _hashes_by_level(results: SearchResults) -> set[tuple[str | None, str]]:
    """Return each level of the factor `dataset` with the hash of its training images."""
    records = (*results.trials, *results.replicates)
    return {(record.spec.configuration.dataset, record.facts.data_hash) for record in records if record.facts}


def _provenance(results: SearchResults, name: str) -> set[str]:
    assert name in Provenance.model_fields
    return {str(getattr(record.facts.provenance, name)) for record in results.replicates if record.facts}


def _join(values: set[str]) -> str:
    return ", ".join(sorted(values)) or "unknown"


def _format(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_format, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
