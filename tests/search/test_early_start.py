"""The start of a driver: its imports, and the workers and processes with which a local cluster starts."""

import os
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray._private import services
from ray._private.node import Node
from ray.tune.execution import class_cache
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from lkca_search.layout import Home
from lkca_search.search.early_start import count_early_workers, start_session
from lkca_search.search.ray_backend.private import inherited_environment, lean_start
from lkca_search.search.run_context import RunContext
from lkca_search.search.state.lease import hold_lease
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.space_file import read_space_file
from lkca_search.tracking.tracker import Tracker
from lkca_search.training.images import DataDirs, open_all_train_images
from tests.support.processes import run_python, wait_for
from tests.support.search.toy import make_spec

CHECKED = """
import sys
from pathlib import Path
from lkca_search.search.run import check_space
from lkca_search.spec.space_file import read_space_file
from lkca_search.training.images import DataDirs, open_all_train_images

space_file = read_space_file(Path(sys.argv[1]), ())
images = open_all_train_images(space_file.spec, DataDirs(cache=Path(sys.argv[2]), data_dir=None))
check_space(space_file, images)
print(sorted({"mlflow", "scipy", "sympy", "torch._dynamo", "triton"} & set(sys.modules)))
"""
SPACE = """
data: {dataset: digits}
factors: {family: [lkca, vit]}
parameters:
  kernel_size:      {value: 3, when: {family: [lkca]}}
  learning_rate:    {float: [1.0e-4, 1.0e-1], log: true}
  patch_size:       {value: 2}
  depth:            {value: 1}
  match_parameters: {value: 10k}
training: {steps: 20}
search:   {trials_per_cell: 2}
"""


def with_resources(**resources: Any) -> SearchSpec:
    plain = make_spec().model_dump(by_alias=True)
    return SearchSpec.model_validate({**plain, "resources": {**plain["resources"], **resources}})


def test_a_driver_checks_a_space_without_mlflow_scipy_and_the_compiler_of_torch(tmp_path: Path) -> None:
    space = tmp_path / "matched.yaml"
    space.write_text(SPACE)
    dirs = DataDirs(cache=tmp_path / "datasets", data_dir=None)
    open_all_train_images(read_space_file(space, ()).spec, dirs)  # scikit-learn decodes them here, with SciPy
    assert run_python(CHECKED, str(space), str(tmp_path / "datasets")) == "[]"


@pytest.mark.parametrize(
    ("num_cpus", "resources", "expected"),
    [
        (1, {}, 1),
        (2, {}, 1),
        (4, {}, 3),
        (64, {}, 6),  # the search has six trials
        (8, {"cpu": 4}, 2),
        (8, {"max_concurrent": 2}, 2),
        (2, {"cpu": 4}, 1),
        (8, {"gpu": 1}, None),
    ],
)
def test_early_workers_are_no_more_than_the_trials_at_once(
    num_cpus: int, resources: dict[str, Any], expected: int | None
) -> None:
    assert count_early_workers(with_resources(**resources), num_cpus) == expected


PRELOADED = """
import gc, sys
before = gc.get_threshold()
import lkca_search.search.worker_imports as preload
seen = set(sys.modules)
print(seen >= set(preload.MODULES), gc.get_threshold() == before, gc.get_freeze_count() > 100_000)
import torch
from lkca_search.search.ray_backend.worker import TrialActor
model = torch.nn.Linear(2, 2)
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
model(torch.ones(1, 2)).sum().backward()
optimizer.step()
print(sorted(name for name in {each.partition(".")[0] for each in set(sys.modules) - seen}))
"""


def test_a_worker_imports_at_its_start_what_a_training_needs_and_then_collects_garbage_as_usual() -> None:
    assert run_python(PRELOADED).splitlines() == ["True True True", "[]"]


def test_a_lean_start_changes_ray_in_its_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_preload_python_modules", raising=False)
    commands: list[list[str]] = []
    monkeypatch.setattr(services, "start_ray_process", lambda command, *_, **__: commands.append(command))
    originals = Node.start_api_server, Node.start_monitor, Node.start_log_monitor, services.start_ray_process
    with lean_start(3):
        assert find_spec(os.environ["RAY_preload_python_modules"]) is not None
        assert Node.start_monitor is not originals[1]
        services.start_ray_process(["raylet", "--num_prestart_python_workers=64", "--head"])
    assert commands == [["raylet", "--num_prestart_python_workers=3", "--head"]]
    restored = Node.start_api_server, Node.start_monitor, Node.start_log_monitor, services.start_ray_process
    assert restored == originals
    assert not {"RAY_preload_python_modules", "RAY_idle_worker_killing_time_threshold_ms"} & os.environ.keys()


@pytest.mark.slow
def test_a_worker_that_starts_with_ray_is_that_of_the_first_trial_although_all_cores_are_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = tmp_path / "pid"
    (tmp_path / "early_worker.py").write_text(f"import os\nopen({str(pid)!r}, 'a').write(str(os.getpid()))\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("RAY_preload_python_modules", "early_worker")
    with lean_start(1):
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=tempfile.mkdtemp(dir="/tmp"))
    try:
        wait_for(pid.exists)
        early = int(pid.read_text())
        groups = [placement_group([{"CPU": 1}]) for _ in range(2)]
        assert all(group.wait(30) for group in groups)
        time.sleep(2)  # Ray ends idle workers after one second, by default
        in_group = PlacementGroupSchedulingStrategy(groups[0], placement_group_bundle_index=0)
        assert (
            ray.get(ray.remote(lambda: os.getpid()).options(num_cpus=1, scheduling_strategy=in_group).remote()) == early
        )
    finally:
        ray.shutdown()


def test_trials_of_a_local_cluster_have_no_runtime_environment_so_that_running_workers_fit() -> None:
    originals = class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE
    with inherited_environment():
        assert not class_cache.DEFAULT_ENV_VARS
        assert not class_cache.ENV_VARS_TO_PROPAGATE
    assert (class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE) == originals


def test_a_process_that_has_imported_torch_starts_ray_after_the_checks(tmp_path: Path) -> None:
    assert torch.get_num_threads()
    home = Home(root=tmp_path / "home")
    context = RunContext(home=home, data_dirs=DataDirs(cache=home.datasets, data_dir=None), console=Tracker())
    with hold_lease(home.search("toy")) as lease, start_session(make_spec(), lease, context):
        assert not ray.is_initialized()
