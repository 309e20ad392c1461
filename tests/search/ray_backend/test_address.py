"""Addresses of clusters: which are accepted, and the remedy for each other one."""

import socket

import pytest

from lkca_search.errors import SearchError
from lkca_search.search.ray_backend.address import choose_address


@pytest.mark.parametrize(
    ("option", "variable", "address"),
    [
        (None, None, None),
        (None, "", None),
        (None, "local", None),
        ("local", "http://head:8265", None),
        (None, "auto", "auto"),
        ("auto", None, "auto"),
        ("auto", "auto", "auto"),
    ],
)
def test_no_address_and_local_start_ray_here(option: str | None, variable: str | None, address: str | None) -> None:
    assert choose_address(option, {} if variable is None else {"RAY_ADDRESS": variable}) == address


@pytest.mark.parametrize(
    ("option", "variable", "words"),
    [
        (None, "http://h:8265", ["RAY_ADDRESS must be HOST:PORT", "dashboard", "--address http://h:8265", "unset RAY"]),
        (None, "https://h", ["submit SPACE --address https://h"]),
        ("http://h:8265", None, ["--address must be HOST:PORT", "dashboard", "give another --address"]),
        ("auto", "http://h:8265", ["RAY_ADDRESS must be", "dashboard"]),
        (None, "ray://h:10001", ["Ray Client, which cannot drive a search", "--address http://HEAD:8265"]),
        (None, "anyscale://x", ["got anyscale://x, a URL"]),
        (None, "head", ["for example HEAD:6379, got 'head'"]),
        (None, "head:port", ["got 'head:port'"]),
        (None, "head:99999", ["got 'head:99999'"]),
        (None, ":6379", ["got ':6379'"]),
        (None, "127.0.0.1:1", ["nothing responds at 127.0.0.1:1 (", "unset RAY_ADDRESS, or give --address"]),
    ],
)
def test_any_other_address_is_refused_with_its_remedy(
    option: str | None, variable: str | None, words: list[str]
) -> None:
    with pytest.raises(SearchError) as caught:
        choose_address(option, {} if variable is None else {"RAY_ADDRESS": variable})
    for word in words:
        assert word in str(caught.value)


def test_an_address_at_which_a_server_listens_is_accepted() -> None:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as server:
            server.bind((host, 0))
            server.listen()
            shown = f"[{host}]" if ":" in host else host
            address = f"{shown}:{server.getsockname()[1]}"
            assert choose_address(None, {"RAY_ADDRESS": address}) == address
            assert choose_address(address, {"RAY_ADDRESS": "http://other"}) == address
