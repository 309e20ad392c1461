"""Results of `lkca-search` commands, for tests that run them."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """Exit code, standard output and standard error of a command."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]


def parsed(answer: Answer) -> Any:
    """Return the JSON that a successful command printed."""
    assert (answer.code, answer.err) == (0, "")
    return json.loads(answer.out)
