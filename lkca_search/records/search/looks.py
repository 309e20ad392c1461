"""Register of looks at test images: one small file per sealed round, for all searches of a home.

A result that was chosen after many looks at the same test images is too optimistic, even if each search is corrected.
The register is keyed by the hash of the test images, so a report can state all their uses. Its files are written once
and never changed, so several drivers need no lock. They stay when a search is deleted. A driver writes them after the
seal of a round and before the first replicate. If it is killed in between, the same command completes the register.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import list_paths, write_atomically
from lkca_search.records.rounds import read_rounds
from lkca_search.records.search.uid import uid_or_name
from lkca_search.spec.base import FrozenModel


class Look(FrozenModel):
    """One look at test images: a sealed round of a search."""

    search: str
    """Name of the search."""
    uid: str
    """Unique id of the search. Two searches of one name, one of them deleted, have different ids."""
    round: int
    """Number of the round in its search."""
    opened: float
    """Time of the seal, in seconds since 1970."""
    test_hash: str
    """SHA-256 of the test images and their labels."""
    seal: str
    """Seal of the round."""

    @property
    def file_name(self) -> str:
        """File of the look. It has the seal, because a round that is deleted and sealed again is another look."""
        return f"{self.uid}-{self.round:04d}-{self.seal[:16]}.json"


@dataclass(frozen=True, kw_only=True)
class LookHistory:
    """All looks at the same test images in a home."""

    looks: Sequence[Look]
    """Looks in the order of time."""
    present: frozenset[str]
    """Unique ids of the searches that are in the home now."""
    unreadable: Sequence[str]
    """Searches and files of the register that cannot be read, for example searches in storage without access."""

    @cached_property
    def num_rounds(self) -> Counter[tuple[str, str]]:
        """Number of looks per search, by the name and the unique id of the search, first search first."""
        return Counter((look.search, look.uid) for look in self.looks)

    def describe(self) -> str:
        """Return the number of looks as a sentence for a round that is registered already."""
        num_rounds, num_searches = self.num_rounds.total(), len(self.num_rounds)
        rounds = "1 round" if num_rounds == 1 else f"{num_rounds} rounds"
        searches = "1 search" if num_searches == 1 else f"{num_searches} searches"
        return f"These test images have been used by {rounds} of {searches} in this home, this round included."


def register_looks(folder: SearchFolder, home: Home) -> None:
    """Write a look for each round of a search, unless it is written already."""
    for look in _looks_of(folder):
        path = home.test_looks(look.test_hash) / look.file_name
        if not path.exists():
            write_atomically(path, look.model_dump_json(indent=1).encode())


def read_looks(home: Home, *test_hashes: str) -> LookHistory:
    """Return all looks at test images with these hashes: those of the register, and the rounds of all present searches.

    A round with several datasets is one look, although the register has a file for each.
    Rounds that were sealed before the register existed are counted as long as their search is in the home.
    """
    looks: dict[str, Look] = {}
    present, unreadable = set(), []
    for path in (path for each in test_hashes for path in list_paths(home.test_looks(each), "*.json")):
        try:
            looks[path.name] = Look.model_validate_json(path.read_bytes())
        except (OSError, ValueError):
            unreadable.append(path.name)
    for name in home.search_names():
        try:
            folder = home.search(name)
            present.add(uid_or_name(folder))
            looks |= {look.file_name: look for look in _looks_of(folder) if look.test_hash in test_hashes}
        except (OSError, ValueError):
            unreadable.append(name)
    return LookHistory(
        looks=sorted(looks.values(), key=lambda look: (look.opened, look.file_name)),
        present=frozenset(present),
        unreadable=unreadable,
    )


def _looks_of(folder: SearchFolder) -> list[Look]:
    """Return one look per round and dataset of a search."""
    uid = uid_or_name(folder)
    return [
        Look(
            search=folder.name,
            uid=uid,
            round=sealed.number,
            opened=sealed.opened,
            test_hash=test_hash,
            seal=sealed.seal,
        )
        for sealed in read_rounds(folder)
        for test_hash in dict.fromkeys(sealed.hash_by_dataset.values())
    ]
