"""Address of the Ray cluster that trains: checked before anything is started or written."""

import socket
from collections.abc import Mapping

from lkca_search.errors import SearchError

AUTO, LOCAL = "auto", "local"
_VARIABLE = "RAY_ADDRESS"
_CONNECT_SECONDS = 10.0
_RULE = "must be HOST:PORT of a cluster's head, or auto on a machine of the cluster"


def choose_address(option: str | None, environment: Mapping[str, str]) -> str | None:
    """Return the address of the cluster to train on; None to start Ray on this machine.

    Args:
        option: Value of `--address`; None if it is not given.
        environment: Variables of this process. RAY_ADDRESS is the default, and Ray also reads it for `auto`.

    Raises:
        SearchError: The address is none of a cluster's head, or nothing responds there.
    """
    variable = environment.get(_VARIABLE) or None
    name, address = ("--address", option) if option is not None else (_VARIABLE, variable)
    if address == AUTO and variable not in (None, LOCAL):
        name, address = _VARIABLE, variable
    if address in (None, AUTO, LOCAL):
        return None if address == LOCAL else address
    assert address is not None
    remedy = "give another --address" if name == "--address" else f"unset {_VARIABLE}, or give --address"
    scheme, separator, _ = address.partition("://")
    if separator:
        kind, url = {
            "http": ("the URL of a dashboard", address),
            "https": ("the URL of a dashboard", address),
            "ray": ("an address of Ray Client, which cannot drive a search", "http://HEAD:8265"),
        }.get(scheme, ("a URL", "http://HEAD:8265"))
        submit = f"to run on that cluster as a job: lkca-search submit SPACE --address {url}"
        raise SearchError(f"{name} {_RULE}, got {address}, {kind}; {submit}. To run here: {remedy}")
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise SearchError(f"{name} {_RULE}, for example HEAD:6379, got {address!r}; {remedy}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise SearchError(f"{name} {_RULE}, but nothing responds at {address} ({error}); {remedy}") from error
    return address
