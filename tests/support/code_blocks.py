"""Code blocks of README and docs: fenced and indented ones, with their language and the reason if they are not run."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "ARCHITECTURE.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
"""Pages whose code blocks are checked. tests/cluster checks those of cluster/."""
_MARK = re.compile(r"<!-- not run: (.+) -->")
_FENCE = re.compile(r"```(\w*)")
_COMMENT = re.compile(r"\s+# .*$")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One code block of a page."""

    page: Path
    line: int
    """Number of its first line, from 1."""
    language: str
    """Language of a fence; empty for an indented block, which has commands of a shell."""
    text: str
    reason: str | None
    """Reason why it is not run; None if it is checked."""

    @property
    def place(self) -> str:
        """Page and line, for a message."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> Iterator[list[str]]:
        """Yield the words of each command of a block of shell, without comments, pipes and variables before it."""
        for line in self.text.replace("\\\n", " ").splitlines():
            bare = _COMMENT.sub("", line.strip())
            for part in re.split(r"\s(?:&&|\|\||\|)\s|;\s", bare):
                words = shlex.split(re.sub(r"\s>\s?\S+.*$", "", part))
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words = words[1:]
                if words:
                    yield words


def read_blocks(page: Path) -> Iterator[Block]:
    """Yield the code blocks of a page in their order."""
    mark: str | None = None
    start, language, lines = 0, "", list[str]()
    is_fenced = is_indented = after_blank = False
    for number, line in enumerate([*page.read_text(encoding="utf-8").splitlines(), ""], start=1):
        if is_fenced:
            if line.startswith("```"):
                yield _block(page, start, language, lines, mark)
                is_fenced, mark = False, None
            else:
                lines.append(line)
        elif is_indented and (line.startswith("    ") or not line.strip()):
            lines.append(line[4:])
        else:
            if is_indented:
                yield _block(page, start, "", lines, mark)
                is_indented, mark = False, None
            if fence := _FENCE.match(line):
                start, language, lines, is_fenced = number + 1, fence[1], [], True
            elif line.startswith("    ") and after_blank:
                start, lines, is_indented = number, [line[4:]], True
            elif found := _MARK.fullmatch(line):
                mark = found[1]
            elif line.strip():
                mark = None
        after_blank = not line.strip()
    if is_indented:
        yield _block(page, start, "", lines, mark)


def _block(page: Path, start: int, language: str, lines: list[str], reason: str | None) -> Block:
    return Block(page=page, line=start, language=language, text="\n".join(lines).strip("\n") + "\n", reason=reason)
