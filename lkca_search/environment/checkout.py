"""Git checkout of this package: its commit, and its differences from the commit."""

import json
import os
import shlex
import subprocess
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path
from typing import NamedTuple

from lkca_search.environment.redaction import redact

MAX_DIFF_BYTES = 1_000_000
"""Size at which the differences of a checkout are cut off."""
SHIPPED_DIFF = "lkca_search.diff"
"""File beside the package with its differences from the commit, if it is shipped without its history."""
_SECONDS = 10.0
"""Time for one command of Git."""
_PACKAGE = Path(__file__).parents[1]
_SECRET_FILES = (".env*", "*.pem", "*.key", "*.p12", "*.pfx", "id_*", ".netrc", ".pypirc", "*credentials*", "*secret*")
"""Files that hold secrets by their purpose; their differences are left out."""


class Commit(NamedTuple):
    """Commit of this package's checkout."""

    text: str
    """Hash, with `-dirty` appended if files differ; `unknown` if it cannot be read."""
    problem: str | None
    """Reason why the commit is unknown; None if it is known."""
    is_checkout: bool
    """False if the package is installed, so that no commit can be expected."""


def git_commit() -> str:
    """Return the commit of this package's checkout; LKCA_GIT_COMMIT, if set, for code shipped without its history."""
    return read_commit().text


@cache
def read_commit() -> Commit:
    """Return the commit as `git_commit` does, and the reason if it is unknown."""
    if commit := os.environ.get("LKCA_GIT_COMMIT"):
        return Commit(commit, None, True)
    try:
        _git("ls-files", "--error-unmatch", "__init__.py")  # fails in a checkout of another project
        return Commit(_git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"), None, True)
    except FileNotFoundError:
        return _unknown("git is not installed")
    except subprocess.TimeoutExpired as error:
        return _unknown(f"git did not respond within {error.timeout:g} s")
    except subprocess.CalledProcessError as error:
        first = next(iter(error.stderr.strip().splitlines()), f"git ended with exit code {error.returncode}")
        if "dubious ownership" in first:
            folder = first.rpartition(" at ")[2].strip("'")
            allow = f"git config --global --add safe.directory {shlex.quote(folder)}"
            return _unknown(f"git refuses the checkout of another user, {folder}; to allow it: {allow}")
        if "not a git repository" in first or "did not match any file" in first:
            installed = _installed_commit()
            return Commit(installed or "unknown", None if installed else "the package is in no Git checkout", False)
        return _unknown(first)
    except (OSError, subprocess.SubprocessError) as error:
        return _unknown(f"git cannot be run: {error}")


@cache
def read_diff() -> str | None:
    """Return the differences of the checkout from its commit; None if there are none, or the commit is unknown.

    Secrets are removed, files that hold secrets by their purpose are left out, and a long text is cut off.
    Files that Git does not track are listed by their names.
    """
    if not read_commit().text.endswith("-dirty"):
        return None
    if os.environ.get("LKCA_GIT_COMMIT"):
        return _read_shipped()
    excluded = [f":(exclude,icase,glob)**/{pattern}" for pattern in _SECRET_FILES]
    try:
        top = _git("rev-parse", "--show-toplevel")
        options = ("--no-color", "--no-ext-diff", "--no-textconv")
        text = _git("diff", *options, "HEAD", "--", ".", *excluded, folder=Path(top))
        names = _git("ls-files", "--others", "--exclude-standard", "--", ".", *excluded, folder=Path(top))
    except (OSError, subprocess.SubprocessError) as error:
        return f"# git did not list the differences: {error}\n"
    untracked = "".join(f"# not in Git: {name}\n" for name in names.splitlines())
    return redact(_cut_off(f"{text}\n" if text else "")) + untracked


def _read_shipped() -> str | None:
    path = _PACKAGE.parent / SHIPPED_DIFF
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
    except OSError:
        return None


def _cut_off(text: str) -> str:
    content = text.encode("utf-8", errors="replace")
    if len(content) <= MAX_DIFF_BYTES:
        return text
    kept = content[:MAX_DIFF_BYTES].decode("utf-8", errors="ignore").rpartition("\n")[0]  # no half of a secret
    return f"{kept}\n# cut off after {MAX_DIFF_BYTES:,} of {len(content):,} bytes\n"


def _installed_commit() -> str | None:
    """Return the commit from which pip has installed the package, by its file `direct_url.json`; None without one."""
    try:
        origin = json.loads(Distribution.from_name("lkca-search").read_text("direct_url.json") or "{}")
        return str(origin["vcs_info"]["commit_id"])
    except (PackageNotFoundError, ValueError, KeyError, TypeError):
        return None


def _unknown(problem: str) -> Commit:
    """Return an unknown commit; the package lies in a checkout if a folder above it has a `.git`."""
    return Commit("unknown", problem, any((folder / ".git").exists() for folder in _PACKAGE.parents))


def _git(*arguments: str, folder: Path = _PACKAGE) -> str:
    command = ["git", "-C", str(folder), *arguments]
    environment = {**os.environ, "LC_ALL": "C"}  # messages in English
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", check=True, timeout=_SECONDS, env=environment
    )
    return done.stdout.strip()
