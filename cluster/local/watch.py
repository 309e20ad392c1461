"""Watch over the test cluster: reports what was lost, and starts lost nodes and the MLflow server again."""

import shutil
import time
from contextlib import suppress
from pathlib import Path

from cluster.local.local_cluster import LocalCluster, Node
from cluster.local.mlflow_server import MLflowServer

_POLL_SECONDS = 0.5


class Watch:
    """Watch over a cluster and an MLflow server. It prints one line per loss, and one per start."""

    def __init__(
        self,
        cluster: LocalCluster,
        server: MLflowServer,
        folder: Path,
        *,
        num_cpus: int,
        num_gpus: int,
        restart_seconds: float,
    ) -> None:
        """Create a watch over processes that run.

        Args:
            cluster: Cluster of one or more nodes.
            server: MLflow server.
            folder: Folder for the logs of lost nodes.
            num_cpus: CPUs that a new node declares.
            num_gpus: GPUs that a new node declares.
            restart_seconds: Seconds between a loss and the new start.
        """
        self._cluster, self._server, self._folder = cluster, server, folder
        self._num_cpus, self._num_gpus, self._restart_seconds = num_cpus, num_gpus, restart_seconds
        self._node_starts: list[float] = []
        """Times at which new nodes start, in order, by `time.monotonic`."""
        self._server_start: float | None = None
        """Time at which the MLflow server starts again; None while it runs."""

    def run(self) -> None:
        """Return when the head is lost. Until then, replace what else is lost."""
        while self._cluster.head.is_running:
            for node in [node for node in self._cluster.nodes if not node.is_running]:
                self._on_node_lost(node)
            if self._server_start is None and self._server.pid is None:
                self._on_server_lost()
            now = time.monotonic()
            if self._node_starts and now >= self._node_starts[0]:
                self._start_node()
            if self._server_start is not None and now >= self._server_start:
                self._start_server()
            time.sleep(_POLL_SECONDS)
        log = self._keep_log(self._cluster.head)
        _show(
            f"{self._cluster.head.name}, the head, was lost with all jobs, so the test cluster ends (log: {log}). The "
            f"searches stay in {self._folder / 'home'}. Start the test cluster again, then repeat `submit` to resume."
        )

    def _on_node_lost(self, node: Node) -> None:
        log = self._keep_log(node)
        self._cluster.kill_node(node)
        self._node_starts.append(time.monotonic() + self._restart_seconds)
        _show(
            f"{node.name} was lost (log: {log}). Its trials resume on other nodes. A new node starts in "
            f"{self._restart_seconds:g} s."
        )

    def _start_node(self) -> None:
        del self._node_starts[0]
        try:
            node = self._cluster.add_node(num_cpus=self._num_cpus, num_gpus=self._num_gpus)
        except RuntimeError as error:
            self._node_starts.append(time.monotonic() + self._restart_seconds)
            _show(f"{error}\nThe next try is in {self._restart_seconds:g} s.")
        else:
            _show(f"{node.name} has joined, process {node.pid}")

    def _on_server_lost(self) -> None:
        self._server.kill()  # a killed parent process leaves its child, which would still answer
        self._server_start = time.monotonic() + self._restart_seconds
        _show(
            "The MLflow server was lost. Trials continue, and MLflow receives their results later. The server starts "
            f"again in {self._restart_seconds:g} s."
        )

    def _start_server(self) -> None:
        try:
            self._server.start()
        except RuntimeError as error:
            self._server_start = time.monotonic() + self._restart_seconds
            _show(f"{error}\nThe next try is in {self._restart_seconds:g} s.")
        else:
            self._server_start = None
            _show(f"The MLflow server runs again, process {self._server.pid}")

    def _keep_log(self, node: Node) -> Path:
        kept = self._folder / node.log.name
        with suppress(OSError):
            shutil.copyfile(node.log, kept)
        return kept


def _show(line: str) -> None:
    print(line, flush=True)
