"""Errors. The command line reports a UserError without a traceback and exits with code 2."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

Location = tuple[str | int, ...]
"""Path of keys and indices to a value in a space file: ("parameters", "depth", "int", 0)."""


class Problem(NamedTuple):
    """Broken rule, and the location of the value that breaks it."""

    location: Location
    rule: str


class UserError(ValueError):
    """Request that cannot be fulfilled; the message states the rule, the value, and what to do instead."""

    def __init__(self, *texts: str) -> None:
        """Join the texts, one per error, into the message."""
        super().__init__("\n".join(texts))
        self.texts = texts


class SpaceFileError(UserError):
    """Space file or override that breaks rules; the message has one line per problem, each with file and line."""

    def __init__(self, lines: Sequence[str]) -> None:
        """Join the lines, one per problem, into the message."""
        super().__init__(*lines)
        self.lines = tuple(lines)


class DataError(UserError):
    """Dataset that is missing, malformed or too small for the request."""


class MissingFolderError(DataError):
    """Dataset whose folder does not exist; it may have moved."""

    def __init__(self, text: str, *, kind: str) -> None:
        """Set the message, and the kind of KIND:PATH."""
        super().__init__(text)
        self.kind = kind

    def with_step(self, step: str) -> "MissingFolderError":
        """Return the error with the step that gives the new path of a folder that has moved: `add data.dataset=`."""
        return MissingFolderError(f"{self}; if it has moved, {step}{self.kind}:NEW_PATH", kind=self.kind)


class Interrupted(Exception):
    """Failure of a disk, database or network under a driver. No finished trial is lost; the same command resumes."""


RESUME_HINT = "Finished trials are kept. Repeat the command to resume."
"""Line below the reason of an Interrupted."""


class NodeError(OSError):
    """Cluster node that lacks the images or the shared storage of the other nodes."""


class StorageError(OSError):
    """Storage of a search that is full: a worker cannot write the files that belong to a record."""


class SearchError(UserError):
    """Search that cannot be started, resumed or found."""


class DamageWarning(UserWarning):
    """Warning of damaged files of a search, which are left out of all numbers."""


_ALIASES: Mapping[str, str] = {
    "lr": "learning_rate",
    "wd": "weight_decay",
    "bs": "batch_size",
    "warmup": "warmup_fraction",
    **dict.fromkeys(("model", "arch", "architecture", "network"), "family"),
    **dict.fromkeys(("dim", "embeddim", "hiddendim", "channels"), "width"),
    **dict.fromkeys(("layers", "numlayers", "blocks", "numblocks"), "depth"),
    **dict.fromkeys(("fraction", "trainfraction", "percent"), "data_fraction"),
    **dict.fromkeys(("trials", "ntrials", "numtrials", "budget", "numsamples"), "trials_per_cell"),
    **dict.fromkeys(("iterations", "numsteps", "maxiter"), "steps"),
    **dict.fromkeys(("valsplit", "valfraction", "holdout"), "validation"),
    "amp": "precision",
    "dtype": "precision",
    "ema": "ema_decay",
    "randomseed": "seed",
    "params": "match_parameters",
}
"""Names of other tools and papers for names here: small letters without underscores."""
_MIN_LETTERS = 4
"""Letters of a name that may stand for the only longer name that has them: `trials` for `trials_per_cell`."""
_MAX_LETTERS = 200
"""Letters of a name that are compared with known names: long texts take seconds."""


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Return `; did you mean NAME?` with the known name that is closest, or an empty text if none is close.

    Case, hyphens and underscores do not count: `batchSize` and `batch-size` are close to `batch_size`. A value that is
    no text is close to none.
    """
    close = find_closest(name, [each for each in known if isinstance(each, str)]) if isinstance(name, str) else None
    return "" if close is None else f"; did you mean {close}?"


def find_closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is closest, as in `did_you_mean`; None if none is close."""
    plain = {_letters(each): each for each in known}
    letters = _letters(name[:_MAX_LETTERS])
    if letters in plain:
        return plain[letters]
    if (alias := _ALIASES.get(letters)) in plain.values():
        return alias
    if swapped := [each for each in plain if sorted(each) == sorted(letters)]:
        return plain[swapped[0]]
    if close := get_close_matches(letters, plain, n=1, cutoff=0.7):
        return plain[close[0]]
    longer = [each for each in plain if len(letters) >= _MIN_LETTERS and letters in each]
    return plain[longer[0]] if len(longer) == 1 else None


def show_value(value: object) -> str:
    """Return a value of a space file as a message shows it: lists in brackets, `nothing` for an empty value."""
    return "nothing" if value is None else repr(_with_lists(value))


def _with_lists(value: object) -> object:
    """Return the value with lists in place of tuples, as a space file has them."""
    if isinstance(value, Mapping):
        return {key: _with_lists(inner) for key, inner in value.items()}
    return [_with_lists(inner) for inner in value] if isinstance(value, list | tuple) else value


def _letters(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")
