"""Test cluster: a Ray cluster with a token and declared GPUs, and an MLflow server, all on this machine.

    python -m cluster.local.up                                               runs until Ctrl-C
    cluster/local/with.sh lkca-search submit search_spaces/quickstart.yaml   any command, in another terminal

Searches and the MLflow database stay in the folder of the test cluster. GPUs are declared and need not exist:
trials that request a share of a missing GPU train on the CPU. A lost node and a lost MLflow server start again; the
loss of the head ends the test cluster.
"""

import argparse
import secrets
import shlex
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from cluster.local.local_cluster import LocalCluster
from cluster.local.mlflow_server import MLflowServer
from cluster.local.watch import Watch

_ENVIRONMENT = "environment"


def main() -> int:
    """Start everything, print the addresses, and run until a signal. Return 1 if the head is lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("lkca_rehearsal"),
        help="folder of searches and MLflow data (default: lkca_rehearsal)",
    )
    parser.add_argument("--nodes", type=int, default=2, help="number of nodes, including the head (default: 2)")
    parser.add_argument("--cpus", type=int, default=4, help="CPUs that each node declares (default: 4)")
    parser.add_argument("--gpus", type=int, default=2, help="GPUs that each node declares (default: 2)")
    parser.add_argument(
        "--restart",
        type=float,
        default=30,
        metavar="SECONDS",
        help="seconds until a lost node or MLflow server starts again (default: 30)",
    )
    options = parser.parse_args()
    folder = options.folder.absolute()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with MLflowServer(folder / "mlflow") as server:
            variables = {"MLFLOW_TRACKING_URI": server.uri}
            with LocalCluster(
                num_cpus=options.cpus, num_gpus=options.gpus, token=secrets.token_hex(32), environment=variables
            ) as cluster:
                for _ in range(options.nodes - 1):
                    cluster.add_node(num_cpus=options.cpus, num_gpus=options.gpus)
                _write_environment(folder / _ENVIRONMENT, cluster, server)
                print(_description(cluster, server, folder, num_gpus=options.nodes * options.gpus), flush=True)
                Watch(
                    cluster,
                    server,
                    folder,
                    num_cpus=options.cpus,
                    num_gpus=options.gpus,
                    restart_seconds=options.restart,
                ).run()
                return 1
    except KeyboardInterrupt:
        print(f"\nstopped; searches stay in {folder / 'home'}")
        return 0
    finally:
        (folder / _ENVIRONMENT).unlink(missing_ok=True)


def _write_environment(path: Path, cluster: LocalCluster, server: MLflowServer) -> None:
    variables: Mapping[str, str] = {
        "RAY_API_SERVER_ADDRESS": cluster.dashboard,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(cluster.token_path),
        "LKCA_SEARCH_HOME": str(path.parent / "home"),
        "MLFLOW_TRACKING_URI": server.uri,
        "PATH": f"{Path(sys.executable).parent}:",
    }
    lines = [f"{name}={shlex.quote(value)}{'$PATH' if name == 'PATH' else ''}" for name, value in variables.items()]
    path.write_text("\n".join(lines) + "\n")


def _description(cluster: LocalCluster, server: MLflowServer, folder: Path, *, num_gpus: int) -> str:
    with_sh, head = Path(__file__).with_name("with.sh"), cluster.head.name
    return "\n".join(
        [
            f"cluster    {cluster.dashboard}  {len(cluster.nodes)} nodes, {num_gpus} declared GPUs, token required",
            f"nodes      {', '.join(f'{node.name} process {node.pid}' for node in cluster.nodes)}; {head} is the head",
            f"mlflow     {server.uri}  process {server.pid}",
            f"home       {folder / 'home'}",
            f"submit     {with_sh} lkca-search submit search_spaces/quickstart.yaml resources.gpu=0.5",
            "stop       Ctrl-C",
        ]
    )


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
