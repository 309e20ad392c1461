"""LKCA Search: hyperparameter search and ablations of image classifiers at several training set sizes."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lkca_search.user import ensure_user

if TYPE_CHECKING:
    from lkca_search.api.model import load_model, predict
    from lkca_search.api.plan import plan
    from lkca_search.api.report import WrittenReport, publish, report
    from lkca_search.api.run import run
    from lkca_search.api.search import Search, load_search
    from lkca_search.errors import DamageWarning, DataError, Interrupted, SearchError, SpaceFileError, UserError
    from lkca_search.training.trained_model import TrainedModel

# MLflow and Ray send no telemetry. Both read these variables when they are imported, so they are set here.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
ensure_user()  # so do their requests for a home folder

__version__ = "0.1.0"

__all__ = [
    "DamageWarning",
    "DataError",
    "Interrupted",
    "Search",
    "SearchError",
    "SpaceFileError",
    "TrainedModel",
    "UserError",
    "WrittenReport",
    "__version__",
    "load_model",
    "load_search",
    "plan",
    "predict",
    "publish",
    "report",
    "run",
]

_MODULES = {
    "api.model": ("load_model", "predict"),
    "api.plan": ("plan",),
    "api.report": ("WrittenReport", "publish", "report"),
    "api.run": ("run",),
    "api.search": ("Search", "load_search"),
    "errors": ("DamageWarning", "DataError", "Interrupted", "SearchError", "SpaceFileError", "UserError"),
    "training.trained_model": ("TrainedModel",),
}
"""Exported names by the module that defines them. It is imported when a name is first used: torch and Ray are slow."""
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import an exported name when it is first used."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
