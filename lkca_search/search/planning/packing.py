"""Packing of trials on nodes and GPUs. A trial runs on one node and on at most one GPU."""

from collections import Counter
from collections.abc import Mapping, Sequence

from lkca_search.errors import SearchError
from lkca_search.spec.resources import ResourcesSection, TrialResources

Resources = Mapping[str, float]
"""Amount per Ray resource, by name: requested by a trial, or total of a node."""

MEMORY_MARGIN = 0.1
"""Fraction of a GPU's memory that stays free, for fragmentation and for errors of the estimate."""
MAX_TRIALS_PER_GPU = 8
"""Maximum number of trials per GPU for `gpu: auto`."""
_UNITS = 10_000
"""Units per resource: Ray rounds resources to 1/10,000. Five shares of 0.16667 fit in one GPU, and six of 0.1666."""
_MAX_SHOWN_NODES = 4


def resource_request(section: ResourcesSection, trial: TrialResources) -> dict[str, float]:
    """Return the resources that one trial requests from a node."""
    request = {"CPU": float(trial.cpu), "GPU": float(trial.gpu), **section.custom}
    return {name: amount for name, amount in request.items() if amount > 0}


def count_concurrent_trials(request: Resources, nodes: Sequence[Resources]) -> int:
    """Return the number of trials that these nodes run at the same time."""
    return sum(_count_on_node(request, node) for node in nodes)


def _count_on_node(request: Resources, node: Resources) -> int:
    counts = []
    for name, amount in request.items():
        available = node.get(name, 0.0)
        if name == "GPU" and amount <= 1:
            # A trial runs on one GPU: fractions of two GPUs cannot be combined.
            counts.append(int(available) * (_UNITS // _units(amount)))
        else:
            counts.append(_units(available) // _units(amount))
    return min(counts)


def _units(amount: float) -> int:
    return round(amount * _UNITS)


def check_capacity(request: Resources, nodes: Sequence[Resources], *, hint: str = "") -> None:
    """Raise SearchError if no node can run a trial. The message ends with the hint."""
    if count_concurrent_trials(request, nodes) < 1:
        raise SearchError(
            f"resources must fit on one node, got {format_resources(request)} per trial, "
            f"and {_describe_largest(request, nodes)}{hint}"
        )


def format_resources(resources: Resources) -> str:
    """Format resources as in a space file: {cpu: 1, gpu: 0.25}."""
    names = {"CPU": "cpu", "GPU": "gpu"}
    return "{" + ", ".join(f"{names.get(name, name)}: {amount:g}" for name, amount in resources.items()) + "}"


def _describe_largest(request: Resources, nodes: Sequence[Resources]) -> str:
    """Describe the largest nodes: no other node has at least as much of every resource. Equal nodes are listed once."""
    names = tuple(dict.fromkeys(("CPU", "GPU", *request)))
    counts = Counter(tuple(node.get(name, 0.0) for name in names) for node in nodes)
    largest = [
        node
        for node in counts
        if not any(other != node and all(a >= b for a, b in zip(other, node, strict=True)) for other in counts)
    ]
    if not largest:
        return "there is no node"
    shown = [
        format_resources(dict(zip(names, node, strict=True)))
        + (f" ({counts[node]} of these)" if counts[node] > 1 else "")
        for node in sorted(largest, reverse=True)[:_MAX_SHOWN_NODES]
    ]
    return f"the largest nodes have {', '.join(shown)}" if len(shown) > 1 else f"the largest node has {shown[0]}"


def gpu_share(trials_per_gpu: int) -> float:
    """Return the fraction of a GPU per trial, rounded down to Ray's units."""
    return _UNITS // trials_per_gpu / _UNITS


class GpuSharing:
    """Number of trials per GPU for `gpu: auto`. It decreases when a trial runs out of memory."""

    def __init__(self, *, trial_bytes: int, gpu_bytes: float, cpu: int, nodes: Sequence[Resources]) -> None:
        """Compute the number of trials per GPU.

        Args:
            trial_bytes: GPU memory of the largest trial.
            gpu_bytes: Memory of the smallest GPU.
            cpu: Cores per trial. The node with the most cores per GPU limits the number.
            nodes: Resources per node.
        """
        fit = int(gpu_bytes * (1 - MEMORY_MARGIN) // trial_bytes)
        by_cores = [int(node.get("CPU", 0) / node["GPU"] // cpu) for node in nodes if node.get("GPU", 0) >= 1]
        self.trials_per_gpu = max(1, min([fit, MAX_TRIALS_PER_GPU, *([max(by_cores)] if by_cores else [])]))
        """Number of trials per GPU, for trials that start from now on."""
        memory = f"the largest trial needs about {trial_bytes / 1e9:.2g} GB of {gpu_bytes / 1e9:.3g} GB"
        self.reason = f"gpu: auto: {describe_sharing(self.trials_per_gpu)}; {memory}"
        """Decision and its reason, for the log."""

    @property
    def share(self) -> float:
        """Fraction of a GPU per trial that starts from now on."""
        return gpu_share(self.trials_per_gpu)

    def reduce_sharing(self, trials_per_gpu: int) -> bool:
        """Reduce the number after a trial ran out of memory on a GPU with `trials_per_gpu` trials.

        If several trials fail at the same number, it is reduced once.

        Returns:
            False if that trial already had the GPU to itself.
        """
        if trials_per_gpu <= 1:
            return False
        self.trials_per_gpu = min(self.trials_per_gpu, trials_per_gpu - 1)
        return True


def describe_sharing(trials_per_gpu: int) -> str:
    """Describe the number of trials per GPU in words."""
    if trials_per_gpu == 1:
        return "one trial per GPU"
    return f"{trials_per_gpu} trials per GPU (gpu: {gpu_share(trials_per_gpu):g} each)"
