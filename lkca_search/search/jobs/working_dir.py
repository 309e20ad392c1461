"""Working directory of a job: this package, the space file, and files that the user adds. Ray uploads it."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pathspec import GitIgnoreSpec

import lkca_search
from lkca_search.errors import UserError
from lkca_search.own_code import find_modules
from lkca_search.spec.cells import specs_by_dataset
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.user import expand_user

_IGNORE_FILES = (".gitignore", ".rayignore")
_ALWAYS_IGNORED = GitIgnoreSpec.from_lines([".*", "__pycache__/", "*.py[cod]", "*.egg-info/", "lkca_runs/", "mlruns/"])
_NUM_LARGEST_SHOWN = 5
_MB = 10**6


@dataclass(frozen=True, kw_only=True)
class WorkingDir:
    """Files of a job's working directory, before they are copied and uploaded."""

    files: Mapping[str, Path]
    """Local file by its path in the working directory, sorted by that path."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Text of each further file, by its path."""

    @property
    def num_bytes(self) -> int:
        """Total size of the files."""
        written = sum(len(text.encode()) for text in self.texts.values())
        return sum(path.stat().st_size for path in self.files.values()) + written

    def copy_to(self, folder: Path) -> None:
        """Copy the files into a folder. Raise UserError if one cannot be read."""
        for name, path in self.files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(path, target)
            except OSError as error:
                raise UserError(f"cannot upload {path}: {error}") from error
        for name, text in self.texts.items():
            (folder / name).write_text(text, encoding="utf-8")


def collect_working_dir(
    spec: SearchSpec | None = None,
    *,
    space: Path | None = None,
    include: Sequence[Path] = (),
    max_megabytes: float = 20,
    texts: Mapping[str, str] | None = None,
) -> WorkingDir:
    """Collect this package, a space file, and the included files and folders, each under its own name.

    Hidden files and caches are left out, and so are the matches of a .gitignore or .rayignore file in an included
    folder or next to it. `texts` has the contents of further files by their names. `spec` is that of the space file.

    Raises:
        UserError: A path does not exist or is ignored entirely, two have one name, the files are too large, or a
            dataset of `spec` has a relative path that is not among them.
    """
    package = Path(lkca_search.__file__).parent
    sources = [package, *([space] if space else []), *include]
    files: dict[str, Path] = {}
    owners: dict[str, Path] = {}
    for source in map(Path.resolve, sources):
        if not source.exists():
            raise UserError(f"included files and folders must exist, got {source}")
        if (owner := owners.setdefault(source.name, source)) != source:
            raise UserError(f"uploaded files and folders must have different names, got {owner} and {source}")
        parent_rules = [] if source == package else _read_ignore_files(source.parent)
        selected = {path.relative_to(source.parent).as_posix(): path for path in _walk(source, parent_rules)}
        if not selected:
            raise UserError(f"{source} has no file to upload: it is empty, or ignore files exclude all of it")
        files.update(selected)
    working_dir = WorkingDir(files=dict(sorted(files.items())), texts=dict(texts or {}))
    _check_size(working_dir, max_megabytes)
    if spec is not None:
        _check_places(spec, working_dir)
    return working_dir


def _check_places(spec: SearchSpec, working_dir: WorkingDir) -> None:
    """Raise UserError if a dataset has a relative path that is not uploaded: on the nodes, it would name nothing."""
    for part in specs_by_dataset(spec).values():
        place = part.data.place_of(None)
        _, colon, text = place.partition(":")  # folder:PATH or parquet:PATH
        if colon and not expand_user(text).is_absolute():
            path = os.path.normpath(text)
            if not any(Path(file).is_relative_to(path) for file in working_dir.files):
                raise UserError(
                    f"the path of a dataset must be absolute, and the same on every node, got {place}: a relative one "
                    "means the uploaded files, which lack it"
                )


def find_own_modules(spec: SearchSpec, folders: Sequence[Path], *, included: Sequence[Path] = ()) -> list[Path]:
    """Return the files and packages in `folders` with the code that a space file names, and those that they import.

    Installed packages come first, as in an import, and are not returned: the nodes must have them. Neither are modules
    that the user has included already.
    """
    tops = {path.partition(".")[0] for _, path in spec.own_code()} - {path.resolve().stem for path in included}
    return [path for _, path in sorted(find_modules(tops, folders).items())]


class _IgnoreRules(NamedTuple):
    """Patterns of an ignore file, relative to its folder."""

    folder: Path
    spec: GitIgnoreSpec

    def match(self, path: Path) -> bool:
        name = path.relative_to(self.folder).as_posix()
        return self.spec.match_file(f"{name}/" if path.is_dir() else name)


def _read_ignore_files(folder: Path) -> list[_IgnoreRules]:
    paths = [folder / name for name in _IGNORE_FILES if (folder / name).is_file()]
    return [
        _IgnoreRules(
            folder, GitIgnoreSpec.from_lines(path.read_text(encoding="utf-8", errors="surrogateescape").splitlines())
        )
        for path in paths
    ]


def _walk(path: Path, rules: Sequence[_IgnoreRules], parents: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the files at and below a path, through links; `path` itself is never ignored."""
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise UserError(f"cannot upload {path}: it is neither a file nor a folder; exclude it by a .rayignore file")
    if path.resolve() in parents:
        raise UserError(f"cannot upload {path}: it links to a folder that contains it; exclude it by a .rayignore file")
    rules = [*rules, _IgnoreRules(path, _ALWAYS_IGNORED), *_read_ignore_files(path)]
    for child in sorted(path.iterdir()):
        if not any(rule.match(child) for rule in rules):
            yield from _walk(child, rules, (*parents, path.resolve()))


def _check_size(working_dir: WorkingDir, max_megabytes: float) -> None:
    if working_dir.num_bytes <= max_megabytes * _MB:
        return
    sizes = sorted(((path.stat().st_size, name) for name, path in working_dir.files.items()), reverse=True)
    largest = "".join(f"\n  {size / _MB:8.1f} MB  {name}" for size, name in sizes[:_NUM_LARGEST_SHOWN])
    raise UserError(
        f"uploaded files must not exceed {max_megabytes:g} MB, got {working_dir.num_bytes / _MB:.1f} MB in "
        f"{len(sizes)} files; exclude files by a .rayignore file, store data where the nodes can read it, or raise "
        f"--max-size. The largest files:{largest}"
    )
