"""Registrations that are killed with SIGKILL, each in a fork of a process that has imported MLflow."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from lkca_search.layout import SearchFolder

WRITES = (
    *("create_registered_model", "create_logged_model", "save", "log_batch", "log_outputs"),
    *("finalize_logged_model", "create_model_version", "set_logged_model_tags", "update_registered_model"),
    *("set_registered_model_tag", "set_registered_model_alias", "set_tag"),
)
"""Functions of MLflow's client that a registration writes with, in order; `save` writes the file `MLmodel`."""
_CODE = """
import json, os, signal, sys
from pathlib import Path
from mlflow import MlflowClient
from mlflow.models import Model
import mlflow.pyfunc, mlflow.store.tracking.sqlalchemy_store, mlflow.store.model_registry.sqlalchemy_store
import lkca_search.reporting.model_card
from lkca_search.layout import Home
from tests.support.tracking.confirmed import sync

def die_after(name):
    owner = Model if name == "save" else MlflowClient
    real = getattr(owner, name)
    def call(*arguments, **options):
        real(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(owner, name, call)

statuses = []
for name in json.loads(sys.argv[2]):
    pid = os.fork()
    if pid == 0:
        die_after(name)
        sync(Home(root=Path(sys.argv[1])).search("made"))
        os._exit(0)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(json.dumps(statuses))
"""


def kill_after(folder: SearchFolder, names: Sequence[str]) -> list[int]:
    """Register the models of a search once per name; each process is killed after its first call of that name.

    Return the exit codes, or the negative numbers of the signals that ended them.
    """
    result = subprocess.run(
        [sys.executable, "-c", _CODE, str(folder.home.root), json.dumps(names)],
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    )
    statuses = json.loads(result.stdout.splitlines()[-1])
    assert isinstance(statuses, list)
    return statuses
