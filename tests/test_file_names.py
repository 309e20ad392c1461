"""File names within the limit of a file system, in bytes."""

from pathlib import Path

import pytest

from lkca_search.file_names import MAX_NAME_BYTES, is_too_long, shorten_name
from lkca_search.paths import write_atomically

LONG = "é" * 200


@pytest.mark.parametrize("name", ["", "a" * MAX_NAME_BYTES, "é" * 127])
def test_a_name_within_the_limit_is_unchanged(name: str) -> None:
    assert not is_too_long(name)
    assert shorten_name(name) == name


@pytest.mark.parametrize("name", ["a" * 256, "é" * 128, "a" + "é" * 128, "日" * 86, "\udcff" * 256])
def test_a_longer_name_has_its_front_and_a_hash_and_fits(name: str) -> None:
    shortened = shorten_name(name)
    front, _, digits = shortened.rpartition("-")
    assert len(shortened.encode(errors="surrogateescape")) <= MAX_NAME_BYTES
    assert name.startswith(front)
    assert len(digits) == 16
    assert shortened != shorten_name(f"{name}a")


def test_a_file_whose_name_has_the_longest_length_can_be_written(tmp_path: Path) -> None:
    name = "a" * MAX_NAME_BYTES
    write_atomically(tmp_path / name, b"content")
    assert [path.name for path in tmp_path.iterdir()] == [name]
