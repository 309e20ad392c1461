"""Tests of packing: trials fit on single nodes and single GPUs, in amounts that Ray supports."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lkca_search.errors import SearchError
from lkca_search.search.planning.packing import (
    MAX_TRIALS_PER_GPU,
    GpuSharing,
    Resources,
    check_capacity,
    count_concurrent_trials,
    gpu_share,
    resource_request,
)
from lkca_search.search.ray_backend.capacity import NOTIFY_SECONDS, REFRESH_SECONDS, Capacity
from lkca_search.spec.resources import ResourcesSection, TrialResources
from lkca_search.training.faults import is_gpu_out_of_memory, is_machine_fault

GB = 10**9


def node(cpu: float = 0, gpu: float = 0, **custom: float) -> dict[str, float]:
    return {name: float(amount) for name, amount in {"CPU": cpu, "GPU": gpu, **custom}.items() if amount}


# Resources of a space file


@pytest.mark.parametrize(
    ("resources", "rule"),
    [
        ({"gpu": 2.0}, "gpu must be at most 1, since a trial uses one device, got 2"),
        ({"gpu": 1e-5}, "gpu must be 0 or at least 0.0001"),
        ({"gpu": "all"}, "Input should be 'auto'"),
        ({"gpu": -0.5}, "greater than or equal to 0"),
        ({"gpu": 0.5, "gpu_memory": 24.0}, "gpu_memory must be left out unless gpu is auto, got gpu 0.5"),
        ({"gpu": "auto", "gpu_memory": 0.0}, "greater than 0"),
        ({"custom": {"GPU": 1.0}}, "custom must not name cpu or gpu, which have keys of their own, got GPU"),
        ({"custom": {"a100": 1.5}}, "custom.a100 must be a whole number if it is above 1"),
        ({"custom": {"a100": 0.0}}, "greater than or equal to 0.0001"),
        ({"custom": {"": 1.0}}, "at least 1 character"),
        ({"max_concurrent": 0}, "greater than or equal to 1"),
    ],
)
def test_impossible_resources_are_refused(resources: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        ResourcesSection.model_validate(resources)


def test_a_request_has_cpu_gpu_and_custom_resources() -> None:
    section = ResourcesSection(cpu=2, gpu=0.25, custom={"a100": 0.25, "accelerator_type:A100": 0.001})
    resources = resource_request(section, section.of_trial())
    assert resources == {"CPU": 2.0, "GPU": 0.25, "a100": 0.25, "accelerator_type:A100": 0.001}
    assert resource_request(ResourcesSection(), TrialResources()) == {"CPU": 1.0}


def test_the_computed_share_of_a_gpu_applies_only_to_gpu_auto() -> None:
    assert ResourcesSection(gpu="auto").of_trial(gpu=0.5).gpu == 0.5
    assert ResourcesSection(gpu="auto").of_trial().gpu == 1.0
    assert ResourcesSection(gpu=0.25).of_trial(gpu=0.5).gpu == 0.25
    assert ResourcesSection(gpu=1).of_trial(gpu=0.5).gpu == 1.0


# Capacity of nodes


@pytest.mark.parametrize(
    ("resources", "nodes", "slots"),
    [
        (node(1), [], 0),
        (node(1), [node(4)], 4),
        (node(2), [node(5)], 2),
        (node(2), [node(1), node(1)], 0),
        (node(2), [node(3), node(3)], 2),
        (node(1, 0.25), [node(16, 1)], 4),
        (node(1, 0.3), [node(99, 8)], 24),
        (node(1, 1), [node(2, 8)], 2),
        (node(1, 0.5), [node(8), node(0, 4)], 0),
        (node(1, 0.5), [node(8), node(1, 4), node(8, 1)], 3),
        (node(1, 0.4), [node(8, 1), node(8, 1)], 4),
        (node(1, 0.16667), [node(16, 1)], 5),
        (node(1, 0.1666), [node(16, 1)], 6),
        (node(1, a100=0.25), [node(8), node(8, a100=2)], 8),
        (node(1, 0.25, a100=0.25), [node(8, 4, h100=4), node(8, 1, a100=1)], 4),
        (node(1, a100=2), [node(8, a100=3), node(8, a100=1)], 1),
        (node(1), [node(0.5), node(2.5)], 2),
    ],
)
def test_a_trial_runs_on_one_node_and_one_gpu(resources: Resources, nodes: Sequence[Resources], slots: int) -> None:
    assert count_concurrent_trials(resources, nodes) == slots


@given(st.integers(1, 64), st.floats(1e-4, 1), st.lists(st.tuples(st.integers(0, 64), st.integers(0, 8)), max_size=4))
def test_the_trials_of_a_node_never_exceed_its_resources(cpu: int, gpu: float, has: list[tuple[int, int]]) -> None:
    for cores, gpus in has:
        slots = count_concurrent_trials(node(cpu, gpu), [node(cores, gpus)])
        assert slots * cpu <= cores
        per_gpu = -(-slots // gpus) if gpus else 0
        assert per_gpu * round(gpu * 10_000) <= 10_000
    assert count_concurrent_trials(node(cpu, gpu), [node(*one) for one in has]) == sum(
        count_concurrent_trials(node(cpu, gpu), [node(*one)]) for one in has
    )


@given(st.integers(1, 100))
def test_n_shares_of_1_over_n_fit_on_one_gpu(trials: int) -> None:
    assert count_concurrent_trials({"GPU": gpu_share(trials)}, [{"GPU": 1.0}]) >= trials
    assert round(gpu_share(trials) * 10_000) * trials <= 10_000


@pytest.mark.parametrize(
    ("nodes", "has"),
    [
        ([], "there is no node"),
        ([node(4)], r"the largest node has {cpu: 4, gpu: 0, a100: 0}"),
        (
            [node(4), node(2), node(4), node(1, 1)],
            r"the largest nodes have {cpu: 4, gpu: 0, a100: 0} \(2 of these\), {c",
        ),
        ([node(4, 2, h100=2), node(2)], r"the largest node has {cpu: 4, gpu: 2, a100: 0}"),
    ],
)
def test_a_request_that_no_node_satisfies_is_refused_with_the_largest_nodes(
    nodes: Sequence[Resources], has: str
) -> None:
    asks = r"resources must fit on one node, got {cpu: 1, gpu: 0.5, a100: 0.5} per trial, and "
    with pytest.raises(SearchError, match=asks + has):
        check_capacity(node(1, 0.5, a100=0.5), nodes)


# Capacity as nodes join and die


class Cluster:
    """Nodes that join and die, with a manual clock."""

    def __init__(self, nodes: list[Resources], *, max_concurrent: int | None = None, autoscales: bool = False) -> None:
        self.now = 0.0
        self.nodes = nodes
        self.notices: list[str] = []
        self.capacity = Capacity(
            lambda: self.nodes,
            max_concurrent=max_concurrent,
            autoscales=autoscales,
            notify=self.notices.append,
            clock=lambda: self.now,
        )

    def count(self, *, after: float = REFRESH_SECONDS) -> int:
        self.now += after
        return self.capacity.count(node(1))


def test_a_node_that_joins_adds_slots_and_a_node_that_dies_removes_them() -> None:
    cluster = Cluster([node(2)])
    assert cluster.count() == 2
    cluster.nodes = [node(2), node(3)]
    assert cluster.count(after=REFRESH_SECONDS / 4) == 2, "nodes are read only every few seconds"
    assert cluster.count() == 5
    cluster.nodes = [node(3)]
    assert cluster.count() == 3
    for _ in range(3):
        cluster.count()
    assert cluster.notices == [
        "nodes with capacity: 2, before 1; 5 trials at once",
        "nodes with capacity: 1, before 2; 3 trials at once",
    ]


def test_a_node_without_capacity_for_a_trial_joins_without_a_notice() -> None:
    cluster = Cluster([node(2)])
    cluster.count()
    cluster.nodes = [node(2), node(0)]
    assert cluster.count() == 2
    assert cluster.notices == []


def test_at_most_max_concurrent_trials_are_in_flight() -> None:
    assert Cluster([node(8)], max_concurrent=3).count() == 3
    assert Cluster([node(2)], max_concurrent=3).count() == 2


def test_with_an_autoscaler_one_more_trial_than_slots_or_max_concurrent_may_be_in_flight() -> None:
    assert Cluster([], autoscales=True).count() == 1
    assert Cluster([node(2)], autoscales=True).count() == 3
    assert Cluster([], autoscales=True, max_concurrent=16).count() == 16
    assert Cluster([node(32)], autoscales=True, max_concurrent=16).count() == 16


@pytest.mark.parametrize(("autoscales", "missing"), [(True, "the cluster to scale up"), (False, "a node")])
def test_a_lack_of_capacity_is_notified_once_per_interval_and_its_end_once(autoscales: bool, missing: str) -> None:
    cluster = Cluster([], autoscales=autoscales)
    for _ in range(3):
        cluster.count()
    waiting = f"no node has capacity for a trial, which requests {{cpu: 1}}: waiting for {missing}"
    assert cluster.notices == [waiting]
    cluster.count(after=NOTIFY_SECONDS)
    assert cluster.notices == [waiting] * 2
    cluster.nodes = [node(4)]
    for _ in range(3):
        cluster.count()
    assert cluster.notices == [waiting, waiting, "nodes have capacity again: 4 trials at once"]
    cluster.nodes = []
    cluster.count()
    assert cluster.notices[-1] == waiting


# GPUs that trials share


@pytest.mark.parametrize(
    ("trial_gb", "gpu_gb", "cpu", "nodes", "trials"),
    [
        (2.0, 24, 1, [node(32, 1)], MAX_TRIALS_PER_GPU),
        (3.0, 24, 1, [node(32, 1)], 7),
        (5.0, 24, 1, [node(32, 1)], 4),
        (12.0, 24, 1, [node(32, 1)], 1),  # two need 24 GB, and 90% of it is available
        (40.0, 24, 1, [node(32, 1)], 1),
        (2.0, 24, 4, [node(12, 1)], 3),
        (2.0, 24, 1, [node(4, 2), node(6, 1)], 6),
        (2.0, 24, 8, [node(4, 1)], 1),
        (5.0, 24, 1, [], 4),
    ],
)
def test_trials_per_gpu_are_limited_by_its_memory_and_the_cores(
    trial_gb: float, gpu_gb: float, cpu: int, nodes: Sequence[Resources], trials: int
) -> None:
    sharing = GpuSharing(trial_bytes=int(trial_gb * GB), gpu_bytes=gpu_gb * GB, cpu=cpu, nodes=nodes)
    assert sharing.trials_per_gpu == trials
    assert count_concurrent_trials({"GPU": sharing.share}, [{"GPU": 1.0}]) == trials


def test_the_number_of_trials_per_gpu_is_printed_with_its_reason() -> None:
    sharing = GpuSharing(trial_bytes=5 * GB, gpu_bytes=24.0 * GB, cpu=1, nodes=[node(8, 1)])
    decided = "gpu: auto: 4 trials per GPU (gpu: 0.25 each)"
    assert sharing.reason == f"{decided}; the largest trial needs about 5 GB of 24 GB"


def test_trials_that_run_out_of_memory_together_reduce_the_number_once() -> None:
    sharing = GpuSharing(trial_bytes=5 * GB, gpu_bytes=24.0 * GB, cpu=1, nodes=[node(8, 1)])
    assert [sharing.reduce_sharing(4) for _ in range(3)] == [True] * 3
    assert sharing.trials_per_gpu == 3
    assert sharing.reduce_sharing(3)
    assert sharing.reduce_sharing(4), "a trial that started before the reduction"
    assert sharing.trials_per_gpu == 2
    assert sharing.reduce_sharing(2)
    assert sharing.share == 1.0
    assert not sharing.reduce_sharing(1)
    assert sharing.trials_per_gpu == 1


@pytest.mark.parametrize(
    ("error", "gpu", "machine"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True, True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported asynchronously"), True, True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True, True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] can't allocate memory"), False, True),
        (MemoryError(), False, True),
        (OSError(28, "No space left on device"), False, True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False, False),
        (ValueError("CUDA out of memory"), False, False),
    ],
)
def test_a_lack_of_gpu_memory_is_distinguished_from_other_machine_faults(
    error: Exception, gpu: bool, machine: bool
) -> None:
    assert is_gpu_out_of_memory(error) == gpu
    assert is_machine_fault(error) == machine
