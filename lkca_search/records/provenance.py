"""Provenance of a result: code, versions and machine."""

import os
import platform
import socket
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

from lkca_search import __version__
from lkca_search.spec.base import FrozenModel


class Provenance(FrozenModel):
    """Code, versions and machine of one training."""

    git_commit: str
    """Commit of the checkout, with `-dirty` appended if files differ; `unknown` outside a checkout."""
    package_version: str
    python_version: str
    torch_version: str
    ray_version: str
    optuna_version: str
    node: str
    """Machine of the training: LKCA_NODE if set, else the host name."""
    device: str
    """`cpu`, or the name of the GPU."""
    num_threads: int
    """Number of CPU threads of PyTorch."""


def gather_provenance(*, device: str, num_threads: int) -> Provenance:
    """Return the provenance of this process."""
    return Provenance(
        git_commit=git_commit(),
        package_version=__version__,
        python_version=platform.python_version(),
        torch_version=version("torch"),
        ray_version=version("ray"),
        optuna_version=version("optuna"),
        node=node_name(),
        device=device,
        num_threads=num_threads,
    )


def node_name() -> str:
    """Return the name of this machine: LKCA_NODE if set (nodes may share a host name), else the host name."""
    return os.environ.get("LKCA_NODE") or socket.gethostname()


@cache
def git_commit() -> str:
    """Return the commit of this package's checkout; LKCA_GIT_COMMIT, if set, for code shipped without its history."""
    if commit := os.environ.get("LKCA_GIT_COMMIT"):
        return commit
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)  # fails in a checkout of another project
        return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
