"""Methods of the arithmetic in a report: precision, compilation, and operations that are not deterministic."""

from collections import Counter
from collections.abc import Mapping, Sequence

from lkca_search.records.record import TrialMetadata
from lkca_search.reporting.values.numbers import format_count
from lkca_search.spec.configuration import UsedPrecision

_AUTOCAST = "weights, gradients, losses and metrics are float32 (autocast)"
_PRECISIONS: Mapping[UsedPrecision, str] = {
    "float32": "numbers are float32",
    "tf32": "numbers are float32, and matrix products and convolutions use TF32",
    "bfloat16": f"matrix products and convolutions are bfloat16, and {_AUTOCAST}",
    "float16": f"matrix products and convolutions are float16 with a scaled loss, and {_AUTOCAST}",
}
_BEFORE_ON_GPU = "numbers are float32, except that convolutions on GPUs may use TF32"
"""Arithmetic on GPUs of versions that did not record it."""


def numerics_methods(facts: Sequence[TrialMetadata]) -> str:
    """Return the sentences on the arithmetic of trainings, with the number of trainings if it is not the same for all.

    Versions that did not record it used float32, and did not compile.
    """
    counts = Counter(_describe(each) for each in facts) or Counter([_PRECISIONS["float32"]])
    total = counts.total()
    sentences = [
        (
            text[0].upper() + text[1:]
            if count == total
            else f"In {format_count(count)} of {format_count(total)} trainings, {text}"
        )
        for text, count in counts.most_common()
    ]
    names = sorted({name for each in facts for name in each.nondeterministic})
    listed = f" Operations without a deterministic implementation ran ({', '.join(names)}), so reruns may differ."
    return f"{'. '.join(sentences)}.{listed if names else ''}"


def _describe(facts: TrialMetadata) -> str:
    is_known = facts.used_precision is not None or facts.provenance.device == "cpu"
    text = _PRECISIONS[facts.used_precision or "float32"] if is_known else _BEFORE_ON_GPU
    return f"{text}; torch.compile compiles the model" if facts.compiled else text
