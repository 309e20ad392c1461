"""A search and its confirmation on Ray stay exact when processes are killed between commits.

`test_killed_models.py` has the other points of a kill, without Ray.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.chaos.harness import INJECTION, ChaosSearch

pytestmark = pytest.mark.timeout(600)  # whole searches, on machines that may be busy

DESIGN = {"confirm__draws": "1", "confirm__seeds": "1", "search__sampler": "random"}
"""Suggestions must not depend on the order of results, so that curves can be compared with those of another run."""


def test_every_kill_point_exists_in_the_package(tmp_path: Path) -> None:
    program = "import importlib, sitecustomize; [importlib.import_module(name) for name in sitecustomize.PATCHES]"
    path = os.pathsep.join(filter(None, (str(INJECTION), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "CHAOS_FOLDER": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_search_and_its_confirmation_killed_between_commits_are_exact(tmp_path: Path) -> None:
    with ChaosSearch(tmp_path / "undisturbed", **DESIGN) as undisturbed:
        undisturbed.finish()
        assert undisturbed.broken() == []
        expected = undisturbed.records()
        assert len(expected) == 2 * 4 + 4, "trials and replicates"
    with ChaosSearch(tmp_path / "chaos", undisturbed=expected, **DESIGN) as search:
        search.crash("after:record:1")  # the other worker trains
        assert search.num_durable() > 0
        search.crash("after:weights:1", victim="driver")  # between a kept model, its predictions, and the record
        search.crash("inside:predictions:1")  # only a worker dies, and the driver completes the round
        assert search.broken() == []
        assert search.num_durable() >= 8, "kills also hit the confirmation"
        assert max(search.resumed_steps()) > 0
        assert search.records().keys() == expected.keys()
