"""Checks of every node before a search starts: it must share the storage and have the driver's images and own code."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lkca_search.errors import DataError, SearchError
from lkca_search.faults import first_line
from lkca_search.own_code import code_hashes, import_from, other_code, own_folders
from lkca_search.paths import AnyPath, parse_path, write_atomically
from lkca_search.search.ray_backend.cluster import live_nodes
from lkca_search.search.ray_backend.locations import describe_node
from lkca_search.spec.cells import specs_by_dataset
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.training.images import DataDirs, check_test_classes, open_train_images
from lkca_search.training.testing import open_test_images

Hashes = Mapping[str | None, str]
"""Content hash of images per level of the factor `dataset`; the level is None in a search without this factor."""
_CHECK_SECONDS = 1800.0
"""Time for the nodes to download and decode a dataset, at the same time."""
_POLL_SECONDS = 1.0


def check_nodes(
    storage: AnyPath,
    spec: SearchSpec,
    data_dirs: DataDirs,
    *,
    data_hashes: Hashes,
    test_hashes: Hashes,
    check_start: Callable[[], None] = lambda: None,
) -> None:
    """Check that every node with enough cores for a trial shares the storage and has the driver's images.

    A node decodes the images of every dataset if needed. With `test_hashes`, the test images are checked too, otherwise
    their classes if the search has a confirmation (see `check_test_classes`). The driver's own node is skipped, and a
    node that joins later is checked by its first trial. `check_start` is called about once per second.

    Raises:
        SearchError: One line per node that cannot train, with the reason.
    """
    here = ray.get_runtime_context().get_node_id()
    nodes = [node for node in live_nodes() if node["NodeID"] != here]
    nodes = [node for node in nodes if node["Resources"].get("CPU", 0) >= spec.resources.cpu]
    if not nodes:
        return
    is_new = not storage.exists()
    marker, token = storage / f".seen-{uuid.uuid4().hex}", uuid.uuid4().hex
    write_atomically(marker, token.encode())
    try:
        checks = [
            (node, start_check(node, str(marker), token, spec, data_dirs, data_hashes, test_hashes)) for node in nodes
        ]
        problems = list(_problems(checks, check_start))
    finally:
        marker.unlink(missing_ok=True)
        if is_new and isinstance(storage, Path):
            with suppress(OSError):  # a refused search leaves nothing behind
                storage.rmdir()
    if problems:
        raise SearchError("\n".join(["not every node of the cluster can train:", *problems]))


def start_check(
    node: Mapping[str, Any],
    marker: str,
    token: str,
    spec: SearchSpec,
    data_dirs: DataDirs,
    data_hashes: Hashes,
    test_hashes: Hashes,
) -> Any:
    """Start `node_problem` on a node; return the Ray reference to its result."""
    on_node = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    task = ray.remote(num_cpus=0, scheduling_strategy=on_node, max_retries=1)(node_problem)
    cache, data_dir = str(data_dirs.cache), None if data_dirs.data_dir is None else str(data_dirs.data_dir)
    own_code = list(own_folders()), code_hashes(path for _, path in spec.own_code())
    plain = spec.model_dump_json(by_alias=True)
    return task.remote(marker, token, plain, cache, data_dir, dict(data_hashes), dict(test_hashes), *own_code)


def _problems(checks: Sequence[tuple[Mapping[str, Any], Any]], check_start: Callable[[], None]) -> Iterator[str]:
    deadline = time.monotonic() + _CHECK_SECONDS
    for node, pending in checks:
        while not ray.wait([pending], timeout=_POLL_SECONDS)[0] and time.monotonic() < deadline:
            check_start()
        try:
            problem = ray.get(pending, timeout=0)
        except ray.exceptions.RayError as error:
            if not any(other["NodeID"] == node["NodeID"] for other in live_nodes()):
                continue  # the node died during the check and trains nothing
            problem = f"does not respond: {first_line(error)}"
        if problem is not None:
            yield f"  {describe_node(node['NodeID'])} {problem}"


def node_problem(
    marker: str,
    token: str,
    spec: str,
    cache: str,
    data_dir: str | None,
    data_hashes: Hashes,
    test_hashes: Hashes,
    folders: Sequence[str] = (),
    modules: Mapping[str, str] = MappingProxyType({}),
) -> str | None:
    """Return the reason why this node cannot train; None if it can. Runs on the node that is checked."""
    path = parse_path(marker)
    try:
        content = path.read_text()
    except OSError as error:
        content = f"{type(error).__name__}: {error}"
    if content != token:
        problem = f"cannot read the storage {path.parent}"
        return f"{problem}: a search on several nodes needs a shared path or an object store as its home or storage"
    import_from(*map(Path, folders))
    if (other := other_code(modules, owner="the driver")) is not None:
        return other
    data_dirs = DataDirs(cache=Path(cache), data_dir=None if data_dir is None else Path(data_dir))
    for level, part in specs_by_dataset(SearchSpec.model_validate_json(spec)).items():
        try:
            check_test_classes(part, data_dirs)
            train = open_train_images(part.data, data_dirs, verify=True)
            opened = [(train, data_hashes.get(level))]
            if level in test_hashes:
                test = open_test_images(part.data, data_dirs, train=train, verify=True)
                opened.append((test, test_hashes[level]))
        except DataError as error:
            return f"cannot open the images: {error}"
        for images, expected in opened:
            if expected not in (None, images.content_hash):
                found = f"{images.content_hash}, not {expected}"
                return f"has other images than the driver{f' of {level}' if level else ''}: {found}"
    return None
