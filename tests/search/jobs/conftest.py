"""Cluster of two nodes, shared by all tests; a submitter; and a search that it has submitted."""

import json
import shutil
from collections.abc import Iterator

import pytest

from cluster.local.local_cluster import LocalCluster
from tests.support.cluster.submitter import Submitted, Submitter


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(num_cpus=1, num_gpus=1) as cluster:
        cluster.add_node(num_cpus=1, num_gpus=1)
        yield cluster


@pytest.fixture(scope="session")
def submitter(tmp_path_factory: pytest.TempPathFactory) -> Submitter:
    return Submitter(tmp_path_factory.mktemp("submitter"))


@pytest.fixture(scope="session")
def submitted(cluster: LocalCluster, submitter: Submitter) -> Submitted:
    """Submit the search `toy`: one trial per cell, with a sampler of its own next to the space file."""
    probe = submitter.root / "probe.json"
    options = ["--address", cluster.dashboard, "--home", str(submitter.home), "--json"]
    shutil.copy(submitter.probe, submitter.space.parent)
    options += ["--env", f"PROBE={probe}"]
    overrides = ["search.trials_per_cell=1", "search.sampler=probe.Probe"]
    answer = submitter.call("submit", str(submitter.space), *overrides, *options, LKCA_DATA_DIR="/of/the/submitter")
    assert answer.code == 0, answer.out + answer.err
    return Submitted(answer, json.loads(answer.out), json.loads(probe.read_text()))
