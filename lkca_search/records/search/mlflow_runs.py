"""Runs of a search in an MLflow store: their ids, and the pages of a server."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_RUNS = 2000
"""Trials and replicates of a search whose runs are all read for a report: MLflow takes about 1.3 ms per run."""
MAX_DESCRIPTION_CHARACTERS = 5_000
"""Longest description of a run or a model that MLflow's databases store."""


@dataclass(frozen=True, kw_only=True)
class MlflowRuns:
    """Run of each trial and replicate that the store has."""

    experiment: str = ""
    """Id of the experiment."""
    server: str | None = None
    """Address of the MLflow server, without a login; None for a database or a folder, whose place is not repeated."""
    ids: Mapping[str, str] = field(default_factory=dict)
    """Id of the run, by the id of the trial or replicate."""

    def page(self, trial_id: str) -> str | None:
        """Return the address of the page of a run; None without a server, and for a trial without a run."""
        run_id = self.ids.get(trial_id)
        if self.server is None or run_id is None:
            return None
        return f"{self.server}/#/experiments/{self.experiment}/runs/{run_id}"

    def rows(self) -> list[dict[str, str]]:
        """Return one row per run, for `mlflow_runs.parquet`."""
        return [{"trial_id": trial_id, "run_id": run_id} for trial_id, run_id in sorted(self.ids.items())]


NO_RUNS = MlflowRuns()
"""Runs of a report that does not read MLflow."""
