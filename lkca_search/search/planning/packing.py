"""Packing: how many trials fit on nodes at once, each whole on one node, and how many share a GPU."""

from collections import Counter
from collections.abc import Mapping, Sequence

from lkca_search.errors import SearchError
from lkca_search.spec.resources import ResourcesSection, TrialResources

Resources = Mapping[str, float]
"""Amounts by Ray's names of resources: what a trial asks, or what a node has."""

MEMORY_MARGIN = 0.1
"""Share of a GPU's memory that is left free for fragments, and for what the estimate does not know of."""
MAX_TRIALS_PER_GPU = 8
"""Trials that `gpu: auto` packs on a GPU, at most."""
_PARTS = 10_000
"""Ray counts in ten-thousandths, rounded: of 0.16667 there are five in a whole, and of 0.1666 six."""
_MOST_SHOWN = 4


def resource_request(resources: ResourcesSection, held: TrialResources) -> dict[str, float]:
    """Return what one trial asks of a node, by Ray's names of resources."""
    asked = {"CPU": float(held.cpu), "GPU": float(held.gpu), **resources.custom}
    return {name: amount for name, amount in asked.items() if amount > 0}


def count_concurrent_trials(asked: Resources, nodes: Sequence[Resources]) -> int:
    """Return how many trials run at once on these nodes, each whole on one of them, and on one GPU of it."""
    return sum(_count_on(asked, node) for node in nodes)


def _count_on(asked: Resources, node: Resources) -> int:
    counts = []
    for name, amount in asked.items():
        has = node.get(name, 0.0)
        if name == "GPU" and amount <= 1:
            counts.append(int(has) * (_PARTS // _parts(amount)))  # a share lies on one GPU
        else:
            counts.append(_parts(has) // _parts(amount))
    return min(counts)


def _parts(amount: float) -> int:
    return round(amount * _PARTS)


def check_capacity(asked: Resources, nodes: Sequence[Resources], *, hint: str = "") -> None:
    """Raise SearchError, which ends with the hint, if no node has room for a trial."""
    if count_concurrent_trials(asked, nodes) < 1:
        raise SearchError(
            f"no trial can be placed: each asks for {format_resources(asked)} of one node, "
            f"and {_show_largest(asked, nodes)}{hint}"
        )


def format_resources(amounts: Resources) -> str:
    """Amounts as a space file writes them: {cpu: 1, gpu: 0.25}."""
    names = {"CPU": "cpu", "GPU": "gpu"}
    return "{" + ", ".join(f"{names.get(name, name)}: {amount:g}" for name, amount in amounts.items()) + "}"


def _show_largest(asked: Resources, nodes: Sequence[Resources]) -> str:
    """The nodes that no other has more than in every resource that counts here, those that are alike as one."""
    names = tuple(dict.fromkeys(("CPU", "GPU", *asked)))
    found = Counter(tuple(node.get(name, 0.0) for name in names) for node in nodes)
    largest = [
        one
        for one in found
        if not any(other != one and all(a >= b for a, b in zip(other, one, strict=True)) for other in found)
    ]
    if not largest:
        return "there is no node"
    shown = [
        format_resources(dict(zip(names, one, strict=True))) + (f" ({found[one]} of these)" if found[one] > 1 else "")
        for one in sorted(largest, reverse=True)[:_MOST_SHOWN]
    ]
    return f"the largest nodes have {', '.join(shown)}" if len(shown) > 1 else f"the largest node has {shown[0]}"


def gpu_share(trials_per_gpu: int) -> float:
    """Return the share of a GPU of which there are so many in one, rounded down to what Ray counts in."""
    return _PARTS // trials_per_gpu / _PARTS


class GpuSharing:
    """How many trials share a GPU where that is left open (`gpu: auto`): fewer after one had too little memory."""

    def __init__(self, *, trial_bytes: int, gpu_bytes: float, cpu: int, nodes: Sequence[Resources]) -> None:
        """`trial_bytes` is what the largest trial takes of a GPU, `gpu_bytes` what the smallest GPU has.

        `cpu` is a trial's cores: no more trials share a GPU than the node with the most cores a GPU has cores for.
        """
        fit = int(gpu_bytes * (1 - MEMORY_MARGIN) // trial_bytes)
        by_cores = [int(node.get("CPU", 0) / node["GPU"] // cpu) for node in nodes if node.get("GPU", 0) >= 1]
        self.trials_per_gpu = max(1, min([fit, MAX_TRIALS_PER_GPU, *([max(by_cores)] if by_cores else [])]))
        """For trials that start from now on."""
        needs = f"the largest trial takes about {trial_bytes / 1e9:.2g} GB of {gpu_bytes / 1e9:.3g} GB"
        self.reason = f"gpu: auto: {describe_sharing(self.trials_per_gpu)}; {needs}"
        """What was decided, and why."""

    @property
    def share(self) -> float:
        """The share of a GPU of trials that start from now on."""
        return gpu_share(self.trials_per_gpu)

    def reduce_sharing(self, trials_per_gpu: int) -> bool:
        """A trial that shared its GPU among so many had too little memory: one fewer from now on.

        Return whether there can be fewer; several trials that failed at the same share count once.
        """
        if trials_per_gpu <= 1:
            return False
        self.trials_per_gpu = min(self.trials_per_gpu, trials_per_gpu - 1)
        return True


def describe_sharing(trials_per_gpu: int) -> str:
    """How many trials share a GPU, in words."""
    if trials_per_gpu == 1:
        return "each trial has a GPU to itself"
    return f"{trials_per_gpu} trials share a GPU, each has {gpu_share(trials_per_gpu):g} of one"
