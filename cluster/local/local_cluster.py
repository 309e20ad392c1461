"""A real Ray cluster of several nodes on this machine, with its own ports, folder and processes."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from cluster.local.ports import free_port

_START_SECONDS = 90
_REMOVED_VARIABLES = ("PYTHONPATH", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


class Node:
    """One raylet and its child processes; the head also runs the processes of the control plane."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        """Name of the node in records and MLflow."""
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    def processes(self) -> list[psutil.Process]:
        """Return all processes of the node, including workers and drivers of jobs."""
        try:
            own = psutil.Process(self.process.pid)
            return [own, *own.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    @property
    def pid(self) -> int:
        """Process of the raylet, which starts the workers. The node is lost with it."""
        return next((process.pid for process in self.processes() if process.name() == "raylet"), self.process.pid)

    @property
    def is_running(self) -> bool:
        """False if the node has ended."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Kill every process of the node with SIGKILL, as if the machine were lost."""
        doomed = self.processes()
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=30)
        psutil.wait_procs(doomed, timeout=30)


class LocalCluster:
    """A head and more nodes on 127.0.0.1. As a context manager, it is removed on exit.

        with LocalCluster(num_cpus=2, num_gpus=2) as cluster:
            node = cluster.add_node(num_cpus=2, num_gpus=2)
            ...  # submit to cluster.dashboard, or run with --address cluster.address
            cluster.kill_node(node)

    Ray itself listens on every interface, as on any machine; the dashboard and the Jobs API listen on 127.0.0.1.
    GPUs are declared and need not exist. PYTHONPATH is removed from the environment of the nodes, so they import the
    installed package, unless `environment` sets it.
    """

    def __init__(
        self,
        *,
        num_cpus: int = 2,
        num_gpus: int = 0,
        token: str | None = None,
        environment: Mapping[str, str] | None = None,
        object_store_megabytes: int = 100,
    ) -> None:
        """Start the head.

        Args:
            num_cpus: CPUs that the head declares.
            num_gpus: GPUs that the head declares.
            token: Token that clients of the cluster must present; None disables authentication.
            environment: Variables added to the environment of every node.
            object_store_megabytes: Size of the object store per node.
        """
        self.root = Path(tempfile.mkdtemp(prefix="lk", dir="/tmp"))  # short: it holds sockets
        self.port, self.dashboard_port = free_port(), free_port()
        self.token_path = self.root / "token"
        self._store = object_store_megabytes * 10**6
        bin_folder = str(Path(sys.executable).parent)
        self.environment: dict[str, str] = {
            **{name: value for name, value in os.environ.items() if _is_inherited(name)},
            "PATH": os.pathsep.join([bin_folder, os.environ.get("PATH", os.defpath)]),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",
            **(environment or {}),
        }
        """Environment of the nodes and of drivers on them."""
        if token is not None:
            self.token_path.touch(mode=0o600)
            self.token_path.write_text(token)
            self.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_path)}
        self._token = token
        self._num_nodes = 0
        self.nodes: list[Node] = []
        try:
            self.head = self._start_head(num_cpus, num_gpus)
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """Address for drivers, HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    @property
    def dashboard(self) -> str:
        """Address of the Jobs API, http://HOST:PORT."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    def add_node(self, *, num_cpus: int = 2, num_gpus: int = 0, within: Sequence[str] = ()) -> Node:
        """Start another node and wait until it has joined. `within` is a command prefix that starts the node."""
        node = self._start(["--address", self.address], num_cpus, num_gpus, within=within)
        self._wait(node, lambda: "Ray runtime started" in node.log.read_text())
        return node

    def kill_node(self, node: Node) -> None:
        """Kill a node and remove it from `nodes`."""
        node.kill()
        self.nodes.remove(node)

    def kill_head(self) -> None:
        """Kill the head. The other nodes and all jobs then end on their own."""
        self.head.kill()
        self.nodes.remove(self.head)

    def close(self) -> None:
        """Kill every node and remove the files of the cluster."""
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.root, ignore_errors=True)
            for node in self.nodes:
                stack.callback(node.kill)
        self.nodes = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _start_head(self, num_cpus: int, num_gpus: int) -> Node:
        options = ["--head", "--port", str(self.port), "--ray-client-server-port", str(free_port())]
        options += ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(self.dashboard_port)]
        head = self._start(options, num_cpus, num_gpus)
        self._wait(head, self._accepts_jobs)
        return head

    def _start(self, options: Sequence[str], num_cpus: int, num_gpus: int, *, within: Sequence[str] = ()) -> Node:
        command = [
            *within,
            str(Path(sys.executable).parent / "ray"),
            "start",
            *options,
            "--node-ip-address",
            "127.0.0.1",
        ]
        command += ["--num-cpus", str(num_cpus), "--num-gpus", str(num_gpus)]
        command += ["--object-store-memory", str(self._store), "--dashboard-agent-listen-port", str(free_port())]
        self._num_nodes += 1
        # One folder per node: raylets that share a folder unpack the files of a job over each other.
        command += ["--temp-dir", str(self.root / str(self._num_nodes))]
        command += ["--min-worker-port", "0", "--max-worker-port", "0", "--disable-usage-stats", "--block"]
        name = f"node-{self._num_nodes}"
        node = Node(name, command, {**self.environment, "LKCA_NODE": name}, self.root / f"{name}.log")
        self.nodes.append(node)
        return node

    def _wait(self, node: Node, is_ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not is_ready():
            if node.process.poll() is not None or time.monotonic() > deadline:
                text = node.log.read_text()
                self.kill_node(node)
                raise RuntimeError(f"{node.name} did not start: {text}")
            time.sleep(0.2)

    def _accepts_jobs(self) -> bool:
        """Return True if the Jobs API answers. Its agent on the head starts last, and submissions fail without it."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        request = urllib.request.Request(f"{self.dashboard}/api/jobs/", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5):
                return True
        except (OSError, urllib.error.URLError):
            return False


def _is_inherited(name: str) -> bool:
    return name not in _REMOVED_VARIABLES and not name.startswith(("LKCA_", "MLFLOW_"))
