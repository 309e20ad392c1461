"""Order of the runs of a search in a table: its own run, then trials from the best to the worst.

MLflow's page orders by a single metric, parameter or tag, and puts runs without a value last. The run of a search has
no value of a trial's metric, so a tag of all runs has the order.
"""

import math
import struct

ORDER = "lkca.order"
"""Tag whose alphabetical order is that of the runs."""
ORDER_OF_SEARCH = "0"
"""Value of the tag of the search's own run."""
ORDER_WITHOUT_RESULT = "2"
"""Value of the tag of a run without a result: it failed, or has just started."""
_SIGN_BIT, _ALL_BITS = 1 << 63, (1 << 64) - 1


def order_of(value: float | None, *, sign: int) -> str:
    """Return the value of the tag of a run with a result; `sign` is 1 if a larger result is better, else -1.

    The text is a number of fixed length that grows as the result gets worse, for every finite or infinite result.
    """
    if value is None or math.isnan(value):
        return ORDER_WITHOUT_RESULT
    (bits,) = struct.unpack(">Q", struct.pack(">d", -sign * value + 0.0))  # + 0.0: -0.0 and 0.0 are one result
    ordered = bits ^ (_ALL_BITS if bits & _SIGN_BIT else _SIGN_BIT)
    return f"1{ordered:016x}"
