"""Fresh MLflow databases without the seconds that their migrations take."""

import shutil
import tempfile
from functools import cache
from pathlib import Path

from mlflow import MlflowClient


def copy_fresh_database(path: Path) -> None:
    """Put a migrated MLflow database without experiments of ours at a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_template(), path)


@cache
def _template() -> Path:
    """Return a database that MLflow has just created: one per test process."""
    path = Path(tempfile.mkdtemp(prefix="lkca-mlflow-")) / "template.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path
