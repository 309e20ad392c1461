"""Merge keys of YAML: a mapping takes the entries of others, and its own entries count."""

import pytest

from lkca_search.errors import SpaceFileError
from tests.support.space_files import VALID, Read

MERGED = VALID.replace("{float: [1.0e-4, 1.0e-2], log: true}", "&rate {float: [1.0e-4, 1.0e-2], log: true}")


def test_merged_entries_are_those_that_are_written_out(read: Read) -> None:
    for merge in ("<<: *rate", "<<: [*rate]", "<<: [*rate, {log: false}]", "<<: [{log: true}, *rate]"):
        text = MERGED.replace("training:", f"  weight_decay: {{{merge}, float: [1.0e-3, 0.1]}}\ntraining:")
        written = VALID.replace("training:", "  weight_decay: {float: [1.0e-3, 0.1], log: true}\ntraining:")
        assert read(text).spec == read(written).spec


def test_a_key_comes_once_in_its_own_mapping_and_may_replace_a_merged_one(read: Read) -> None:
    with pytest.raises(SpaceFileError, match="got 'log' twice"):
        read(MERGED.replace("training:", "  weight_decay: {<<: *rate, log: true, log: false}\ntraining:"))


def test_an_error_in_a_merged_entry_has_the_line_where_it_stands(read: Read) -> None:
    text = MERGED.replace("1.0e-2]", "1.0e-5]").replace("training:", "  weight_decay: {<<: *rate}\ntraining:")
    with pytest.raises(SpaceFileError) as caught:
        read(text)
    assert [line.rpartition(":")[2] for line in caught.value.lines] == ["13)", "13)"]  # not that of the merge key


def test_merges_of_merges_are_within_the_limit_of_values(read: Read) -> None:
    chain = "".join(f"  a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 9))
    with pytest.raises(SpaceFileError, match="the number of values in a space file must be at most 10,000"):
        read(VALID.replace("training:", f"  a0: &a0 {{value: 1}}\n{chain}training:"))
