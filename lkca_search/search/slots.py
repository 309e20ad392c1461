"""How many trials fit on a machine or cluster at once."""

from lkca_search.errors import SearchError
from lkca_search.spec import ResourcesSection


def count_slots(resources: ResourcesSection, *, num_cpus: int, num_gpus: int, hint: str = "") -> int:
    """Return how many trials run at once; SearchError, which ends with the hint, if not even one does.

    A trial uses one GPU, in part or whole: eight GPUs have room for 24 trials at 0.3 each, not for 26.
    """
    slots = num_cpus // resources.cpu
    if resources.gpu > 0:
        slots = min(slots, num_gpus * int(1 / resources.gpu + 1e-9))
    if slots < 1:
        asks = f"{{cpu: {resources.cpu}, gpu: {resources.gpu:g}}}"
        has = f"{{cpu: {num_cpus}, gpu: {num_gpus}}}"
        raise SearchError(f"no trial can be placed: each asks for {asks}, and there is {has} in all{hint}")
    return slots
