"""Settings of every test: a private Ray, no telemetry, a home of its own, and the order of test files."""

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.processes import Answer, Command

# Ray reads these when it is first imported. Clusters of tests are private and leave no token in the user's home.
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

# Backends that tests measure are kept apart from the user's, and shared by all tests as by all searches of a user.
os.environ["LKCA_BACKEND_CACHE"] = str(Path(tempfile.gettempdir()) / f"lkca-search-tests-{os.getuid()}" / "backends")

# A shell starts background jobs with SIGINT ignored, and every child would inherit that. Tests send Ctrl-C to commands.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("tests", deadline=None, derandomize=True)  # the same examples in every run
settings.register_profile("explore", deadline=None)  # new examples in every run: pytest --hypothesis-profile explore
settings.load_profile("tests")

LONGEST_FIRST = (
    "tests/cluster/test_faults.py",
    "tests/search/test_stop.py",
    "tests/search/jobs/test_submit.py",
    "tests/cluster/test_slurm.py",
    "tests/search/test_run.py",
    "tests/search/test_confirm.py",
    "tests/search/test_chaos.py",
    "tests/tracking/test_mlflow_load.py",
    "tests/search/test_local_cluster.py",
    "tests/search/test_own_code.py",
    "tests/search/ray_backend/test_capacity.py",
    "tests/search/test_datasets_on_ray.py",
    "tests/cluster/test_kuberay_page.py",
    "tests/cluster/test_mlflow_login.py",
    "tests/search/test_object_store.py",
    "tests/search/ray_backend/test_scaling.py",
    "tests/cluster/test_nodes.py",
    "tests/training/recipe/test_precision.py",
    "tests/training/test_loop.py",
    "tests/training/test_trained_model.py",
    "tests/search/housekeeping/test_archive.py",
    "tests/search/driver/test_lost_ledger.py",
    "tests/cli/test_damaged_files.py",
)
"""The longest files, most of which start clusters or servers; begun first, so that no process ends alone with one."""

SLOW_SECONDS = 1200
"""Limit of a slow test, in place of that in pyproject.toml: whole searches, on machines that may be busy."""

MEMORY_DISK = Path("/dev/shm")
MIN_FREE_BYTES = 8 << 30


def pytest_configure(config: pytest.Config) -> None:
    """Keep the files of the fast tests in memory if there is room, and remove them at the end.

    A toy trial waits 40 times for the disk, since its ledger and its files must be durable. Kills of processes, which
    tests check, lose nothing that is in memory.
    """
    is_worker = hasattr(config, "workerinput")
    if is_worker or "not slow" not in config.option.markexpr or not MEMORY_DISK.is_dir():
        return
    if shutil.disk_usage(MEMORY_DISK).free > MIN_FREE_BYTES and os.access(MEMORY_DISK, os.W_OK):
        root = tempfile.mkdtemp(prefix="lkca-tests-", dir=MEMORY_DISK)
        os.environ["PYTEST_DEBUG_TEMPROOT"] = root
        config.add_cleanup(lambda: shutil.rmtree(root, ignore_errors=True))


def _missing_gpu() -> str | None:
    """Return the reason why this machine runs no test of a GPU, or None."""
    import torch

    return None if torch.cuda.is_available() else "torch finds no GPU of NVIDIA on this machine"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need a GPU if there is none, give slow tests more time, and put the longest files first.

    `--dist loadfile --no-loadscope-reorder` assigns files in this order.
    """
    ranks = {name: rank for rank, name in enumerate(LONGEST_FIRST)}
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_items and (reason := _missing_gpu()):
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason=reason))
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS), append=False)
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the user's searches, MLflow and Ray."""
    monkeypatch.setenv("LKCA_SEARCH_HOME", str(tmp_path / "home"))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Start torch's global random numbers at one place, so that a test passes always or never."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs `lkca-search` with arguments in this process."""
    from lkca_search.cli.app import main

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["lkca-search", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        code = caught.value.code
        return Answer(code if isinstance(code, int) else 0, *capsys.readouterr())

    return run
