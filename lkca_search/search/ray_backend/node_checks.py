"""What every node of a cluster must have before a search starts: the storage that all share, and the same images."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lkca_search.errors import DataError, SearchError
from lkca_search.paths import AnyPath, parse_path, write_atomically
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.training.images import DataDirs, open_train_images
from lkca_search.training.testing import open_test_images

_PATIENCE_SECONDS = 1800.0
"""How long a node may take to download and decode a dataset."""


def check_nodes(
    storage: AnyPath, spec: SearchSpec, data_dirs: DataDirs, *, data_hash: str | None, test_hash: str | None = None
) -> None:
    """See on every node that trains that it shares the storage and has the images, which it decodes if need be.

    The test images too, where their hash is given. SearchError names each node that lacks something, and what. A node
    that joins later is checked by its first trial.
    """
    here = ray.get_runtime_context().get_node_id()
    nodes = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    nodes = [node for node in nodes if node["Resources"].get("CPU", 0) >= spec.resources.cpu]
    if not nodes:
        return
    mark, word = storage / f".seen-{uuid.uuid4().hex}", uuid.uuid4().hex
    write_atomically(mark, word.encode())
    try:
        looks = [(node, _start_look(node, str(mark), word, spec, data_dirs, data_hash, test_hash)) for node in nodes]
        problems = list(_problems(looks))
    finally:
        mark.unlink(missing_ok=True)
    if problems:
        raise SearchError("\n".join(["not every node of the cluster can train:", *problems]))


def _start_look(
    node: Mapping[str, Any],
    mark: str,
    word: str,
    spec: SearchSpec,
    data_dirs: DataDirs,
    data_hash: str | None,
    test_hash: str | None,
) -> Any:
    only_there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    task = ray.remote(num_cpus=0, scheduling_strategy=only_there, max_retries=1)(look)
    cache, data_dir = str(data_dirs.cache), None if data_dirs.data_dir is None else str(data_dirs.data_dir)
    return task.remote(mark, word, spec.model_dump_json(by_alias=True), cache, data_dir, data_hash, test_hash)


def _problems(looks: Sequence[tuple[Mapping[str, Any], Any]]) -> Iterator[str]:
    for node, pending in looks:
        try:
            problem = ray.get(pending, timeout=_PATIENCE_SECONDS)
        except ray.exceptions.RayError as error:
            if not _is_alive(node):
                continue  # it died meanwhile, and trains nothing
            problem = f"cannot be asked: {str(error).strip().splitlines()[0]}"
        if problem is not None:
            yield f"  {node['NodeManagerHostname']} ({node['NodeManagerAddress']}) {problem}"


def _is_alive(node: Mapping[str, Any]) -> bool:
    return any(other["Alive"] for other in ray.nodes() if other["NodeID"] == node["NodeID"])


def look(
    mark: str,
    word: str,
    spec: str,
    cache: str,
    data_dir: str | None,
    data_hash: str | None,
    test_hash: str | None = None,
) -> str | None:
    """Why this node cannot train; None if it can."""
    path = parse_path(mark)
    try:
        found = path.read_text()
    except OSError as error:
        found = f"{type(error).__name__}: {error}"
    if found != word:
        where = f"does not see the storage {path.parent}"
        return f"{where}: a search on several nodes needs a shared path or an object store as its home or storage"
    data_dirs = DataDirs(cache=Path(cache), data_dir=None if data_dir is None else Path(data_dir))
    data = SearchSpec.model_validate_json(spec).data
    opened = ((open_train_images, data_hash), *([(open_test_images, test_hash)] if test_hash else []))
    for open_split, expected in opened:
        try:
            images = open_split(data, data_dirs)
        except DataError as error:
            return f"cannot have the images: {error}"
        if expected not in (None, images.content_hash):
            return f"has other images than the driver: {images.content_hash}, not {expected}"
    return None
