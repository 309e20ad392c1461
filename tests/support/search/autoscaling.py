"""A local cluster with Ray's own autoscaler and fake nodes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from cluster.local.ports import free_port

_HEAD = "f" * 51 + "00000"
"""Name of the head in the fake provider."""
_PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"


class ScalingCluster:
    """A head without CPUs, and an autoscaler that starts up to two nodes with four CPUs and a declared GPU each."""

    def __init__(self, folder: Path, *, v2: bool) -> None:
        """Start the head; `v2` uses Ray's autoscaler v2, as on current clouds and Kubernetes."""
        self.address = f"{_own_ip()}:{free_port()}"
        self._folder = folder
        node = {"resources": {"CPU": 4, "GPU": 1, "object_store_memory": 80_000_000}, "node_config": {}}
        provider: dict[str, Any] = {"gcs_address": self.address, "head_node_id": _HEAD, "launch_multiple": True}
        provider["disable_node_updaters"] = True  # they would fail to log in to the nodes, and terminate them
        # Autoscaler v2 reads defaults from a file that is missing in Ray's wheel, except for an external provider.
        provider |= {"type": "external", "module": _PROVIDER} if v2 else {"type": "fake_multinode"}
        config = {
            "cluster_name": "fake",
            "max_workers": 2,
            "upscaling_speed": 1.0,
            "idle_timeout_minutes": 5,
            "provider": provider,
            "available_node_types": {
                "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
                "gpu": {**node, "min_workers": 0, "max_workers": 2},
            },
            "head_node_type": "ray.head.default",
            "auth": {"ssh_user": "nobody"},
            "docker": {},
            "rsync_exclude": [],
            "rsync_filter": [],
            "cluster_synced_files": [],
            "file_mounts_sync_continuously": False,
            **{name: [] for name in ("setup_commands", "initialization_commands")},
            **{
                f"{kind}_{commands}": []
                for kind in ("head", "worker")
                for commands in ("setup_commands", "start_ray_commands")
            },
            "file_mounts": {},
        }
        path = folder / "cluster.json"
        path.write_text(json.dumps(config))
        own = {
            "RAY_FAKE_CLUSTER": "1",
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_enable_autoscaler_v2": str(int(v2)),
        }
        if v2:
            own |= {"RAY_CLOUD_INSTANCE_ID": _HEAD, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD}
        subprocess.run(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--disable-usage-stats"),
                *("--port", self.address.rpartition(":")[2], f"--temp-dir={folder}", f"--autoscaling-config={path}"),
                *("--num-cpus=0", "--object-store-memory=80000000", "--include-dashboard=false"),
            ],
            env={**os.environ, **own},
            check=True,
            stdout=subprocess.DEVNULL,  # child processes would keep a pipe open
            stderr=subprocess.DEVNULL,
            timeout=60,
        )

    def stop(self) -> None:
        """Kill every process of this cluster and of no other."""
        mine = []
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self._folder) in part for part in process.info["cmdline"] or ()):
                process.send_signal(signal.SIGKILL)
                mine.append(process)
        psutil.wait_procs(mine, timeout=30)


def _own_ip() -> str:
    """Return the address that Ray uses for this machine."""
    import ray

    address: str = ray.util.get_node_ip_address()
    return address
