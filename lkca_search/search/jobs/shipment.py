"""What is shipped to a cluster: this package, the space file, and what the user adds. Ray keeps it by its content."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pathspec import GitIgnoreSpec

import lkca_search
from lkca_search.errors import UserError

_IGNORE_FILES = (".gitignore", ".rayignore")
_NEVER = GitIgnoreSpec.from_lines([".*", "__pycache__/", "*.py[cod]", "*.egg-info/", "lkca_runs/", "mlruns/"])
_CULPRITS_SHOWN = 5
_MB = 10**6


@dataclass(frozen=True, kw_only=True)
class Shipment:
    """The files of a job's working directory."""

    files: Mapping[str, Path]
    """Path in the working directory, by which they are sorted, to the file that is copied there."""

    @property
    def num_bytes(self) -> int:
        """Size of all files together."""
        return sum(path.stat().st_size for path in self.files.values())

    def stage(self, folder: Path) -> None:
        """Copy the files into a folder; UserError for one that cannot be read."""
        for name, path in self.files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(path, target)
            except OSError as error:
                raise UserError(f"cannot ship {path}: {error}") from error


def gather_shipment(*, space: Path | None = None, include: Sequence[Path] = (), max_megabytes: float = 20) -> Shipment:
    """Gather this package, a space file, and files and folders that are put beside it under their own names.

    Left out are hidden files, caches, and what a .gitignore or .rayignore says that lies in an included folder or
    beside it. Raises UserError for a path that is not there or is ignored whole, for two of one name, and where all
    is larger than allowed.
    """
    package = Path(lkca_search.__file__).parent
    sources = [package, *([space] if space else []), *include]
    files: dict[str, Path] = {}
    owners: dict[str, Path] = {}
    for source in map(Path.resolve, sources):
        if not source.exists():
            raise UserError(f"what is included must exist, and there is no {source}")
        if owners.setdefault(source.name, source) != source:
            rule = "what is shipped lies in one folder, so that each name stands for one thing"
            raise UserError(f"{rule}; {source.name!r} is both {owners[source.name]} and {source}")
        beside = [] if source == package else _read_ignore_files(source.parent)
        found = {path.relative_to(source.parent).as_posix(): path for path in _files(source, beside)}
        if not found:
            raise UserError(f"nothing of {source} would be shipped: it is empty, or ignore files leave out all of it")
        files.update(found)
    shipment = Shipment(files=dict(sorted(files.items())))
    _check_size(shipment, max_megabytes)
    return shipment


class _Ignored(NamedTuple):
    """What an ignore file in a folder leaves out."""

    folder: Path
    spec: GitIgnoreSpec

    def __contains__(self, path: object) -> bool:
        assert isinstance(path, Path)
        name = path.relative_to(self.folder).as_posix()
        return self.spec.match_file(f"{name}/" if path.is_dir() else name)


def _read_ignore_files(folder: Path) -> list[_Ignored]:
    paths = [folder / name for name in _IGNORE_FILES if (folder / name).is_file()]
    return [_Ignored(folder, GitIgnoreSpec.from_lines(path.read_text().splitlines())) for path in paths]


def _files(path: Path, ignored: Sequence[_Ignored], above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """The files at and below a path, links followed; what was named by the user itself is never ignored by itself."""
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise UserError(f"cannot ship {path}: it is neither a file nor a folder; an ignore file can leave it out")
    if path.resolve() in above:
        raise UserError(f"cannot ship {path}: it links to a folder that holds it; an ignore file can leave it out")
    ignored = [*ignored, _Ignored(path, _NEVER), *_read_ignore_files(path)]
    for child in sorted(path.iterdir()):
        if not any(child in ignore for ignore in ignored):
            yield from _files(child, ignored, (*above, path.resolve()))


def _check_size(shipment: Shipment, max_megabytes: float) -> None:
    if shipment.num_bytes <= max_megabytes * _MB:
        return
    sizes = sorted(((path.stat().st_size, name) for name, path in shipment.files.items()), reverse=True)
    largest = "".join(f"\n  {size / _MB:8.1f} MB  {name}" for size, name in sizes[:_CULPRITS_SHOWN])
    rule = f"what is shipped must not exceed {max_megabytes:g} MB, and {len(sizes)} files have"
    hint = "leave files out by a .rayignore, put data where the nodes see it, or raise --max-size"
    raise UserError(f"{rule} {shipment.num_bytes / _MB:.1f} MB ({hint}); the largest are{largest}")
