"""Process that opens MLflow stores in forks of itself, which may be killed while they create the schema."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

# Importing MLflow takes seconds, and a fork starts after it. A fork kills itself when SQLite begins a statement of ours
# that starts with `kill_at`.
_CODE = """
import json, os, signal, sqlite3, sys
from pathlib import Path
from mlflow import MlflowClient
import mlflow.store.tracking.sqlalchemy_store
from lkca_search.tracking import database
from tests.support.tracking.recorded import open_store

def kill_at(start, connect=database.connect):
    def begin(statement):
        if statement.startswith(start):
            os.kill(os.getpid(), signal.SIGKILL)
    def connect_and_trace(file):
        connection = connect(file)
        connection.set_trace_callback(begin)
        return connection
    database.connect = connect_and_trace

database.prepare_database(Path(sys.argv[1]))
children = []
for line in sys.stdin:
    task = json.loads(line)
    if "root" not in task:
        print(json.dumps([os.waitpid(pid, 0)[1] for pid in children]), flush=True)
        children = []
        continue
    pid = os.fork()
    if pid == 0:
        root = Path(task["root"])
        if task["by_mlflow"]:
            MlflowClient(tracking_uri=f"sqlite:///{root}/mlflow.db").search_experiments()
            os._exit(0)
        if task["kill_at"]:
            kill_at(task["kill_at"])
        open_store(root, uid=task["uid"])
        os._exit(0)
    children.append(pid)
    print(json.dumps(pid), flush=True)
"""


class StoreForks:
    """Forks that open a store. They need not compute its schema: the process that is forked did."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE, str(folder / "first.db")],
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def start(self, root: Path, *, uid: str = "uid", kill_at: str | None = None, by_mlflow: bool = False) -> int:
        """Open the store of a home in a fork; with `by_mlflow`, without code of ours. Return its process id."""
        pid = self._request({"root": str(root), "uid": uid, "kill_at": kill_at, "by_mlflow": by_mlflow})
        assert isinstance(pid, int)
        return pid

    def wait(self) -> list[int]:
        """Wait for all forks; return their exit codes, or the negative number of the signal that ended them."""
        return [os.waitstatus_to_exitcode(status) for status in self._request({})]

    def kill(self, pid: int) -> None:
        """Kill a fork with SIGKILL; it may have ended."""
        os.kill(pid, signal.SIGKILL)  # the process id is not reused before `wait`
        self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.communicate()

    def _request(self, task: dict[str, Any]) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())
