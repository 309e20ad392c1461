"""Derived seeds."""

from hypothesis import given
from hypothesis import strategies as st

from lkca_search.seeds import derive_seed

PARTS = st.lists(st.integers() | st.floats(allow_nan=False) | st.booleans() | st.text(), max_size=4)


@given(PARTS)
def test_a_seed_is_in_the_range_of_numpy_torch_and_optuna(parts: list[str | float]) -> None:
    assert 0 <= derive_seed(*parts) < 2**32
    assert derive_seed(*parts) == derive_seed(*parts)


def test_a_seed_depends_on_the_value_type_and_order_of_every_part() -> None:
    uses = [
        (),
        (0,),
        (1,),
        (1.0,),
        (True,),
        ("1",),
        (0, "trial"),
        ("trial", 0),
        (0, "trial", 1),
        (0, "trial", 11),
        (0, "trial1"),
        (0, "trial, 1"),
        (0, "sampler", 1),
        (1, "trial", 1),
    ]
    assert len({derive_seed(*parts) for parts in uses}) == len(uses)


def test_a_seed_is_the_same_on_every_machine() -> None:
    assert derive_seed(0, "split") == 142732367
    assert derive_seed(7, "sampler", "family=lkca,data_fraction=0.1", 3) == 3667257667
    assert derive_seed("ä", 0.1, True) == 1039691128
