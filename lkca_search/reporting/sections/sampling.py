"""Sentence on the test images that intervals are for."""

from collections.abc import Iterable


def scope_of_intervals(subject: str, is_known: Iterable[bool]) -> str:
    """Return the sentence; `is_known` is True per interval that includes the sampling of test images."""
    known = set(is_known)
    if known == {True}:
        return f"{subject} include the sampling of test images."
    if True not in known:
        return f"{subject} are for these test images."
    return f"{subject} include the sampling of test images where predictions are known, else they are for these images."
