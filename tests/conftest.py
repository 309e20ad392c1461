"""What every test runs under: a private Ray, no telemetry, no home of the user's."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Read when Ray is first imported: the clusters of tests are private, and leave no token in the user's home.
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

settings.register_profile("tests", deadline=None, derandomize=True)  # a run says the same again
settings.register_profile("explore", deadline=None)  # pytest --hypothesis-profile explore: other examples each time
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LKCA_SEARCH_HOME", str(tmp_path / "home"))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
