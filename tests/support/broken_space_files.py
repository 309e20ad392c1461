"""Space files that must be refused: attacks, slips of the keyboard and surprises of YAML, each with its message."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TEXT = """\
data:
  dataset: digits
  augment: [crop]
factors:
  family: [lkca, vit]
  data_fraction: [0.1, 1]
parameters:
  patch_size: {value: 2}
  depth: {int: [2, 8]}
  learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
training:
  steps: 100
search:
  trials_per_cell: 6
"""
"""Valid space file that each text edit starts from."""
FILE = "space.yaml"
"""Name under which a file is written and read."""


@dataclass(frozen=True, kw_only=True)
class BrokenFile:
    """Space file with a fault, and the parts of the message that refuses it."""

    name: str
    """Fault, as the name of a test and a row of a table."""
    rule: str
    """Rule that the message states."""
    value: str
    """Broken value, as the message shows it."""
    place: str
    """End of the message: the position of the value, in parentheses."""
    content: bytes = TEXT.encode()
    """Bytes of the file."""
    overrides: tuple[str, ...] = ()
    """Overrides of the file."""
    make: Callable[[Path], None] | None = None
    """Function that makes another kind of file at a path, instead of `content`."""

    def write(self, folder: Path) -> Path:
        """Make the file in a folder and return its path."""
        path = folder / FILE
        if self.make is None:
            path.write_bytes(self.content)
        else:
            self.make(path)
        return path


def text(name: str, content: str, line: int, rule: str, value: str) -> BrokenFile:
    """Return a file with a text, whose fault is in a line."""
    return BrokenFile(name=name, content=content.encode(), rule=rule, value=value, place=f"{FILE}:{line}")


def edit(name: str, old: str, new: str, line: int, rule: str, value: str) -> BrokenFile:
    """Return the valid file with a part replaced by another."""
    assert TEXT.count(old) == 1, old
    return text(name, TEXT.replace(old, new), line, rule, value)


def override(name: str, change: str, rule: str, value: str, shown: str | None = None) -> BrokenFile:
    """Return the valid file with an override that has a fault."""
    place = f"override {change!r}" if shown is None else shown
    return BrokenFile(name=name, overrides=(change,), rule=rule, value=value, place=place)


def special(name: str, make: Callable[[Path], None], rule: str, value: str, place: str = FILE) -> BrokenFile:
    """Return a path that is no plausible file."""
    return BrokenFile(name=name, make=make, rule=rule, value=value, place=place)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2 << 30)


def _aliases(items: str, levels: int) -> str:
    """Return anchors, each a list of nine of the one before."""
    names = "abcdefghijklmnopqrstuvwxyz"
    lines = [f"a: &a {items}"] + [
        f"{names[i]}: &{names[i]} [{','.join(['*' + names[i - 1]] * 9)}]" for i in range(1, levels)
    ]
    return "\n".join(lines) + "\n"


def _levels(count: int) -> str:
    return "[" + ", ".join(f"{0.1 + 0.8 * i / count:.6f}" for i in range(count)) + "]"


def _listed(count: int, first: int = 1) -> str:
    return "[" + ",".join(map(str, range(first, first + count))) + "]"


DEEP = 10_000
NESTED = "values must be nested at most 32 deep"
VALUES = "the number of values in a space file must be at most 10,000"
CELLS = "the number of cells must be at most 5,000"
TAG = "a value must have no tag"
DECIMAL = "a number must be decimal without a leading zero"
WRAPPED = "{name: patient, patience: 1, wraps: " * 40 + "none" + "}" * 40
WRONG_LEVELS = ", ".join(f"x{i}" for i in range(4_000))
CYCLE = "".join(f"  p{i}: {{levels: [1], when: {{p{(i + 1) % 700}: [1]}}}}\n" for i in range(700))
MORE_FACTORS = "".join(f"  {name}: {_listed(8)}\n" for name in ("num_heads", "kernel_size", "width", "draw"))

LARGE = (
    text("aliases of lists", _aliases("[x]", 9), 1, VALUES, "more"),
    text("aliases of a long text", _aliases(f"[{'x' * 4_000}]", 3), 1, "the characters of all values", "more"),
    edit(
        "an alias in its own list",
        "training:",
        "x: &a [1, [*a]]\ntraining:",
        11,
        "an anchor must not contain",
        "itself",
    ),
    text("an alias in its own mapping", "data: &a\n  x: {y: *a}\n", 1, "an anchor must not contain", "itself"),
    text("lists in lists", "[" * DEEP, 1, NESTED, "more"),
    text("mappings in mappings", "{a: " * DEEP, 1, NESTED, "more"),
    text("nested blocks", "".join(f"{' ' * i}a:\n" for i in range(300)), 33, NESTED, "more"),
    text("nested sequences on one line", "- " * DEEP, 1, NESTED, "more"),
    text("nested keys", "? " * DEEP, 1, NESTED, "more"),
    edit("exclude 10,000 levels deep", "training:", f"exclude: {'[' * DEEP}\ntraining:", 11, NESTED, "more"),
    edit("pruners in pruners", "_cell: 6", f"_cell: 6\n  pruner: {WRAPPED}", 15, NESTED, "more"),
    text("20,000 anchors", "&a " * 20_000, 1, "not YAML: expected", "anchor"),
    text("60,000 brackets that close nothing", "]" * 60_000, 1, "not YAML: expected the node content", "']'"),
    text("20,000 lines of one text", "a: |\n" + " x\n" * 20_000, 1, "the characters of a text must be", "40,000"),
    edit("a cycle of 700 conditions", "factors:\n", f"factors:\n{CYCLE}", 5, "unknown name", "'p0'"),
    edit("a level in lists", "0.1, 1", "0.1, [[[1]]]", 6, "factors.data_fraction.1: must be a finite", "[[[1]]]"),
    text("32,000 values", f"data: [{'1,' * 32_000}1]\n", 1, VALUES, "more"),
    text("7,000 keys", "".join(f"k{i}: 1\n" for i in range(7_000)), 5_000, VALUES, "more"),
    edit("4,000 unknown keys", "data:", "".join(f"k{i}: 1\n" for i in range(4_000)) + "data:", 1, "unknown key", "k0"),
    edit(
        "3,000 unknown factors",
        "factors:\n",
        "factors:\n" + "".join(f"  n{i}: [1]\n" for i in range(3_000)),
        5,
        "unknown name",
        "'n0'",
    ),
    text(
        "70,000 letters of comment", f"#{'x' * 70_000}\n{TEXT}", 1, "the size of a space file in bytes must be", "70,2"
    ),
    edit(
        "5,000 letters of a name", "digits", "x" * 5_000, 2, "the characters of a text must be at most 4,096", "5,000"
    ),
    edit("900 letters of a key", "  dataset", f"  {'x' * 900}: 1\n  dataset", 2, "unknown key data.xxx", "xxx"),
    edit("4,000 wrong values of a choice", "{value: 2}", f"{{choice: [{WRONG_LEVELS}]}}", 8, "valid integer", "'x0'"),
    edit(
        "4,000 wrong levels of a condition",
        "{value: 2}",
        f"{{value: 2, when: {{family: [{WRONG_LEVELS}]}}}}",
        8,
        "`when` can never hold",
        "'x0' or 'x1'",
    ),
    edit("4,000 equal levels", "0.1, 1]", "1, " * 4_000 + "1]", 6, "levels must be distinct", "[1, 1, 1"),
    edit(
        "2,000 exclusions of unknown levels",
        "training:",
        "exclude:\n" + "".join(f"- {{family: x{i}}}\n" for i in range(2_000)) + "training:",
        12,
        "exclude must list levels of factor `family`",
        "['x0']",
    ),
    edit(
        "1,200 exclusions of 4,800 cells, and one of none",
        "0.1, 1]\nparameters:",
        f"0.1, 1]\n  draw: {_listed(1_200)}\n  kernel_size: {{levels: [3], when: {{family: [vit]}}}}\nexclude:\n"
        + "".join(f"- {{draw: {i}}}\n" for i in range(1, 1_201))
        + "- {family: lkca, kernel_size: 3}\nparameters:",
        1_210,
        "exclude must cover at least one cell",
        "covers none",
    ),
    edit("5,040 cells of three factors", "[0.1, 1]", f"{_levels(70)}\n  draw: {_listed(36)}", 4, CELLS, "more"),
    edit("16,384 cells of six factors", "factors:\n", f"factors:\n{MORE_FACTORS}", 4, CELLS, "more"),
    edit(
        "one factor at a time at 4,000 sizes",
        "factors:\n",
        f"design: one_at_a_time\nfactors:\n  draw: {_listed(2_000)}\n",
        5,
        CELLS,
        "more",
    ),
    text(
        "1,000 repeats at three sizes",
        TEXT.replace("0.1, 1", "0.1, 0.2, 1").replace("_cell: 6", "_cell: 6\n  repeats: 1000"),
        4,
        CELLS,
        "more",
    ),
    text(
        "100,000 trials in each of 12 cells",
        TEXT.replace("[0.1, 1]", _levels(6)).replace("_cell: 6", "_cell: 100000"),
        14,
        "the number of trials must be at most 1,000,000",
        "1,200,000",
    ),
    text(
        "300,000 replicates per cell",
        f"{TEXT}confirm: {{draws: 1000, seeds: 300}}\n",
        15,
        "the number of replicates must be at most 1,000,000",
        "1,200,000",
    ),
)
"""Files that would take memory or time."""

NUMBERS = (
    edit(
        "more reports than steps",
        "steps: 100",
        "steps: 20\n  reports: 400",
        13,
        "training.reports must be at most 20",
        "400",
    ),
    edit(
        "more reports than capped steps",
        "steps: 100",
        "epochs: 9\n  max_steps: 30\n  reports: 31",
        14,
        "training.reports must be at most 30",
        "31",
    ),
    edit(
        "one report per epoch of 20,000",
        "steps: 100",
        "epochs: 20000",
        11,
        "epochs without reports must be at most",
        "20,000",
    ),
    edit(
        "samples of years",
        "steps: 100",
        "samples: 10000000000000",
        12,
        "training.samples must be at most",
        "10000000000000",
    ),
    edit(
        "a batch of a million",
        "steps: 100",
        "steps: 100\n  batch_size: 1000000",
        13,
        "training.batch_size must be at",
        "1000000",
    ),
    edit(
        "patience of a million",
        "steps: 100",
        "steps: 100\n  patience: 1000000",
        13,
        "training.patience must be at",
        "1000000",
    ),
    edit(
        "many cores",
        "training:",
        "resources: {cpu: 100000}\ntraining:",
        11,
        "resources.cpu must be at most 4,096",
        "100000",
    ),
    edit(
        "many resources",
        "training:",
        "resources: {custom: {a: 1.0e+9}}\ntraining:",
        11,
        "custom.a must be at most",
        "1000000000.0",
    ),
    edit(
        "much GPU memory",
        "training:",
        "resources: {gpu: auto, gpu_memory: 24000000000}\ntraining:",
        11,
        "resources.gpu_memory must be at most 10,000",
        "24000000000",
    ),
    edit("a century", "training:", "limits: {hours: 876000}\ntraining:", 11, "limits.hours must be at most", "876000"),
    edit(
        "many replicates",
        "training:",
        "confirm: {top: 100000}\ntraining:",
        11,
        "confirm.top must be at most 1,000",
        "100000",
    ),
    edit(
        "many retries",
        "_cell: 6",
        "_cell: 6\n  max_retries: 1000000000",
        15,
        "search.max_retries must be at most",
        "1000000000",
    ),
    edit(
        "many candidates",
        "_cell: 6",
        "_cell: 6\n  sampler: {name: tpe, n_ei_candidates: 1000000000}",
        15,
        "search.sampler.n_ei_candidates must be at most 100,000",
        "1000000000",
    ),
    edit(
        "a seed of 60 digits", "_cell: 6", f"_cell: 6\n  seed: {'9' * 60}", 15, "search.seed must be at most", "9" * 60
    ),
    edit(
        "an integer of 5,000 digits",
        "steps: 100",
        f"steps: {'9' * 5_000}",
        12,
        "the characters of a number must be at",
        "5,000",
    ),
    edit("an integer of 90 digits", "steps: 100", f"steps: {'9' * 90}", 12, "training.steps must be at most", "9" * 90),
    edit(
        "a range up to 31 digits",
        "[2, 8]",
        f"[2, 1{'0' * 30}]",
        9,
        "parameters.depth.int must be at most",
        f"1{'0' * 30}",
    ),
    edit("a range of large numbers", "[2, 8]", "[2, 100000]", 9, "depth must be at most 1,000", "100000"),
    edit("a range to infinity", "[1.0e-4, 1.0e-2]", "[1.0e-4, 1.0e+400]", 10, "finite number", "inf"),
    edit("a range from minus infinity", "[1.0e-4, 1.0e-2]", "[-.inf, 1.0e-2]", 10, "finite number", "-inf"),
    edit("a level that is no number", "[0.1, 1]", "[0.1, .nan]", 6, "factors.data_fraction.1: must be a finite", "nan"),
    edit("a true level beside 1", "[0.1, 1]", "[1, true]", 6, "levels must be distinct", "[1, True]"),
    edit("a true level", "[0.1, 1]", "[0.1, true]", 6, "data_fraction: input should be a valid number", "True"),
    edit(
        "minus zero beside zero",
        "{value: 2}",
        "{value: 2}\n  weight_decay: {choice: [0.0, -0.0]}",
        9,
        "choice must have distinct values",
        "[0.0, -0.0]",
    ),
    edit("a size below zero", "[0.1, 1]", "[-0.0, 1]", 6, "data_fraction: input should be greater than 0", "-0.0"),
    edit(
        "a count beyond floats",
        "{value: 2}",
        f"{{value: 2}}\n  match_parameters: {{value: {'9' * 400}M}}",
        9,
        "match_parameters: input should be a valid integer",
        "999",
    ),
    edit(
        "a count of a million millions",
        "{value: 2}",
        "{value: 2}\n  match_parameters: {value: 1000000M}",
        9,
        "match_parameters must be at most 10,000,000,000",
        "1000000000000",
    ),
)
"""Files with numbers beyond reason, or that are no numbers."""

SURPRISES = (
    edit("octal levels", "{value: 2}", "{choice: [2, 010]}", 8, DECIMAL, "010, which YAML reads as 8"),
    edit("thousands with a comma", "steps: 100", "steps: [1,000]", 12, DECIMAL, "000, which YAML reads as 0"),
    edit("a binary number", "steps: 100", "steps: 0b11", 12, DECIMAL, "0b11, which YAML reads as 3"),
    edit("a hexadecimal number", "steps: 100", "steps: 0x1F", 12, DECIMAL, "0x1F, which YAML reads as 31"),
    edit("a number in base 60", "steps: 100", "steps: 1:30:00", 12, DECIMAL, "1:30:00, which YAML reads as 5400"),
    edit("a fraction in base 60", "0.1, 1", "0:30.5, 1", 6, DECIMAL, "0:30.5, which YAML reads as 30.5"),
    edit("underscores at the end", "steps: 100", "steps: 1__0_", 12, DECIMAL, "1__0_, which YAML reads as 10"),
    edit("a date", "digits", "2024-01-31", 2, "YAML reads 2024-01-31 as a date", "'2024-01-31' for text"),
    edit("a date that does not exist", "digits", "2024-13-99", 2, "YAML reads 2024-13-99 as a date", "'2024-13-99'"),
    edit("a value of its own", "digits", "=", 2, "YAML reads = as a key of its own", "'='"),
    edit("Norway", "[lkca, vit]", "[no, vit]", 5, "family: input should be a valid string", "False"),
    edit("a key that is a bool", "  dataset", "  on", 2, "a key must be text", "True"),
    edit("a key that is a number", "  dataset", "  1", 2, "a key must be text", "1"),
    edit("a key that is null", "  dataset", "  ~", 2, "a key must be text", "None"),
    edit("a key that is a list", "  dataset: digits", "  ? [a]\n  : b", 2, "a key must be text", "a list"),
    edit(
        "a key twice",
        "  dataset: digits",
        "  dataset: digits\n  'dataset': svhn",
        3,
        "a key must appear once",
        "'dataset' twice",
    ),
    edit("a merge key", "data:\n", "data:\n  <<: svhn\n", 2, "a merge key (<<) must have a mapping", "<<"),
    edit("an anchor twice", "[0.1, 1]", "[&a 0.1, &a 1]", 6, "not YAML: second occurrence", "occurrence"),
    edit("a tag of its own", "[lkca, vit]", "!family [lkca, vit]", 5, TAG, "!family"),
    edit("a tag on a mapping", "{value: 2}", "!!map {value: 2}", 8, TAG, "!!map"),
    edit("a tag on a key", "  dataset", "  !!str dataset", 2, TAG, "!!str"),
    edit("a set", "{value: 2}", "!!set {value}", 8, TAG, "!!set"),
    edit("a tag without a name", "steps: 100", "steps: ! 100", 12, TAG, "!"),
    edit("bytes", "digits", "!!binary aGVsbG8=", 2, TAG, "!!binary"),
    edit("an object of Python", "digits", "!!python/object/apply:os.system [ls]", 2, TAG, "os.system"),
    text(
        "a tag directive",
        f"%TAG !e! tag:example.com,2000:\n---\n{TEXT}".replace("digits", "!e!x digits"),
        4,
        TAG,
        "example",
    ),
    text("another version of YAML", f"%YAML 3.0\n---\n{TEXT}", 1, "not YAML: found incompatible", "document"),
    text("an empty file", "", 1, "a space file must be a mapping of sections", "nothing"),
    text("an empty document", "---\n...\n", 1, "a space file must be a mapping of sections", "nothing"),
    text("two documents", f"{TEXT}---\n{TEXT}", 15, "not YAML: but found another document", "another document"),
    text("a text", "a space file\n", 1, "a space file must be a mapping of sections", "'a space file'"),
    text(
        "JSON without quotes closed",
        '{"data": {"dataset": "digits}}\n',
        1,
        "not YAML: found unexpected end of",
        "stream",
    ),
    edit(
        "a byte order mark inside",
        "steps: 100",
        "steps: 100\n  \ufeffpatience: 3",
        13,
        "unknown key",
        r"\ufeffpatience",
    ),
    BrokenFile(
        name="UTF-16",
        content=TEXT.encode("utf-16"),
        rule="a space file must be UTF-8",
        value="UTF-16",
        place=f"{FILE}:1",
    ),
    BrokenFile(
        name="UTF-16 without a mark",
        content=TEXT.encode("utf-16-le"),
        rule="not YAML: special characters",
        value="'\\x00'",
        place=f"{FILE}:1",
    ),
    BrokenFile(
        name="Latin-1",
        content=TEXT.replace("digits", "b\xe4r").encode("latin-1"),
        rule="a space file must be UTF-8",
        value="byte 0xe4",
        place=f"{FILE}:2",
    ),
    edit("a null character", "digits", "di\0gits", 2, "not YAML: special characters are not allowed", "'\\x00'"),
    edit("an escaped bell", "digits", '"di\\agits"', 2, "a text must have no control characters", "'\\x07'"),
    edit(
        "an escaped null character", "digits", '"folder:/a\\0b"', 2, "a text must have no control characters", "'\\x00'"
    ),
    edit("half a character", "digits", '"\\ud800"', 2, "a text must have no control characters", "'\\ud800'"),
    edit(
        "a key with an escape sequence", "  dataset", '  "\\e[31mdataset"', 2, "a text must have no control", "'\\x1b'"
    ),
    edit("a tab", "  dataset", "\tdataset", 2, "not YAML", "'\\t'"),
    edit("a reserved letter", "digits", "@digits", 2, "not YAML: found character '@'", "'@'"),
)
"""Files that YAML 1.1 would read in another way than they are written, and texts that are no YAML."""

SPECIAL = (
    special("no file", lambda path: None, "cannot read the space file", "No such file"),
    special("a folder", lambda path: path.mkdir(), "must be a regular file", "a folder"),
    special("a pipe", lambda path: os.mkfifo(path), "must be a regular file", "a pipe"),
    special("a device without an end", lambda path: path.symlink_to("/dev/zero"), "must be a regular file", "a device"),
    special("a terminal", lambda path: path.symlink_to("/dev/tty"), "must be a regular file", "a device"),
    special("a link to itself", lambda path: path.symlink_to(path), "cannot read the space file", "symbolic links"),
    special(
        "2 GB of nothing", _sparse, "the size of a space file in bytes must be at most", "2,147,483,648", f"{FILE}:1"
    ),
    special(
        "the memory of a process", lambda path: path.symlink_to("/proc/self/mem"), "cannot read the space file", "error"
    ),
)
"""Paths that are no files, or could block or never end."""

OVERRIDES = (
    override("a float of steps", "training.steps=1e30", "training.steps: input should be a valid integer", "1e+30"),
    override("31 digits of steps", f"training.steps=1{'0' * 30}", "training.steps must be at most", f"1{'0' * 30}"),
    override("an octal number", "training.steps=0100", DECIMAL, "0100, which YAML reads as 64"),
    override("a tag in an override", "training.steps=!!int '5'", TAG, "!!int"),
    override(
        "a factor without its section", "data_fraction=[0.1, 1]", "unknown key data_fraction", "factors.data_fraction"
    ),
    override("an alias in an override", "factors.data_fraction=[&a 0.1, *a]", "levels must be distinct", "[0.1, 0.1]"),
    override("nesting in an override", "exclude=" + "[" * 1_000, NESTED, "more", "override 'exclude=[[["),
    override("30,000 keys in an override", ".".join("a" * 30_000) + "=1", NESTED, "30,000", "override 'a.a.a."),
    override("a key with a bell", "data.\a=1", "a text must have no control characters", "'\\x07'"),
    BrokenFile(
        name="200 overrides",
        overrides=("search.seed=1",) * 200,
        rule="the number of overrides must be at most 100",
        value="200",
        place="command line",
    ),
)
"""Overrides with the same surprises."""

DATASETS = (
    edit("an unknown dataset", "digits", "digit", 2, "unknown dataset", "'digit'"),
    edit(
        "a dataset in the folder of nobody",
        "digits",
        "folder:~nobody-here/x",
        2,
        "~NAME must be a user of this machine",
        "",
    ),
    edit("a path without its kind", "digits", "../digits", 2, "dataset must be a name, not a path", "'../digits'"),
)
"""Files whose dataset `plan` and `run` refuse after they have read the file."""

BROKEN = (*LARGE, *NUMBERS, *SURPRISES, *SPECIAL, *OVERRIDES)
"""Every file that cannot be read."""
