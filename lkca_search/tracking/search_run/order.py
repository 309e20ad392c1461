"""Order of the runs of a search in a table: its own run, then trials from the best to the worst.

Trials with other validation images are apart: values on few images vary more, so they do not rank the trials of cells.

MLflow's page orders by a single metric, parameter or tag, and puts runs without a value last. The run of a search has
no value of a trial's metric, so a tag of all runs has the order.
"""

import math
import struct

from lkca_search.records.trial import TrialSpec

ORDER = "lkca.order"
"""Tag whose alphabetical order is that of the runs."""
ORDER_OF_SEARCH = "0"
"""Value of the tag of the search's own run."""
ORDER_WITHOUT_RESULT = "2"
"""Value of the tag of a run without a result: it failed, or has just started."""
_SIGN_BIT, _ALL_BITS = 1 << 63, (1 << 64) - 1


def order_of(value: float | None, *, sign: int, images: TrialSpec | None = None) -> str:
    """Return the value of the tag of a run with a result; `sign` is 1 if a larger result is better, else -1.

    The text is a number of fixed length that grows as the result gets worse, for every finite or infinite result. With
    `images`, the trials of one dataset and, if validation images are fewer at a smaller size, of one size are together:
    the largest size first.
    """
    if value is None or math.isnan(value):
        return ORDER_WITHOUT_RESULT
    return f"1{_group(images) if images else ''}{_descending(sign * value)}"


def _group(spec: TrialSpec) -> str:
    """Return the part of a tag that trials with the same number of validation images share."""
    configuration = spec.configuration
    sizes = (configuration.data_fraction, configuration.images_per_class) if spec.data.scale_validation else ()
    parts = [
        *([configuration.dataset] if configuration.dataset else []),
        *(_descending(size) for size in sizes if size),
    ]
    return "".join(f"{part} " for part in parts)


def _descending(value: float) -> str:
    """Return a number of fixed length that grows as a finite or infinite value gets smaller."""
    (bits,) = struct.unpack(">Q", struct.pack(">d", -value + 0.0))  # + 0.0: -0.0 and 0.0 are one value
    return f"{bits ^ (_ALL_BITS if bits & _SIGN_BIT else _SIGN_BIT):016x}"
