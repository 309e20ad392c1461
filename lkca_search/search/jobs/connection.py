"""Connection to the dashboard of a Ray cluster, with errors that name the cluster."""

import json
import logging
import os
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from urllib.parse import urlsplit

from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from lkca_search.errors import SearchError, UserError
from lkca_search.faults import causes, first_line
from lkca_search.search.jobs.access import LOGIN_HINT, Access, describe_proxy, describe_tls

_API_ADDRESS = "RAY_API_SERVER_ADDRESS"
_CONNECT_SECONDS = 10.0
NO_LOGIN = Access()
"""Access without headers, with the certificates of the system."""


def connect(address: str, access: Access = NO_LOGIN) -> JobSubmissionClient:
    """Return Ray's client for a cluster.

    Raises SearchError if the address is invalid, nothing responds there, or the cluster requires a token or a login.
    """
    _check_address(address, access)
    address = address.rstrip("/")
    logging.getLogger("ray").setLevel(logging.ERROR)
    for part in ("modules.job.sdk", "modules.dashboard_sdk"):
        logging.getLogger(f"ray.dashboard.{part}").setLevel(logging.ERROR)  # these loggers ignore the level of `ray`
    with name_cluster_in_errors(address), _override_api_address(address):
        _enable_token_authentication()
        if access.verify is False:
            warnings.filterwarnings("ignore", message="Unverified HTTPS request")
        return JobSubmissionClient(address, headers=dict(access.headers), verify=access.verify)


def _enable_token_authentication() -> None:
    """Enable Ray's token authentication if this machine has a token; do nothing if Ray lacks the private module."""
    try:
        from ray._private.authentication.authentication_token_setup import (
            maybe_enable_token_auth_if_token_available as enable,
        )
    except ImportError:
        return
    enable(warn_if_disabled=False)


@contextmanager
def name_cluster_in_errors(address: str) -> Iterator[None]:
    """Turn the errors of Ray's client into SearchErrors that name the cluster."""
    try:
        yield
    except UserError:
        raise
    except AuthenticationError as error:
        hint = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) as on the cluster"
        rule = f"the cluster at {address} requires its token ({first_line(error)})"
        raise SearchError(f"{rule}: {hint}; {LOGIN_HINT}") from error
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        raise SearchError(
            f"a request to Ray's Jobs API at {address} failed: {first_cause(error)}{describe_proxy(address)}"
        ) from error


def first_cause(error: BaseException) -> str:
    """Return the first cause of an error in a few words: requests nests that of a connection in four errors."""
    numbers = [each.errno for each in causes(error, with_context=True) if isinstance(each, OSError) and each.errno]
    return os.strerror(numbers[-1]).lower() if numbers else first_line(error)


def _check_address(address: str, access: Access) -> None:
    try:
        url = urlsplit(address)
        is_address = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise SearchError(
            f"address must be the URL of the cluster's dashboard, usually http://HEAD:8265, got {address!r}"
        )
    request = urllib.request.Request(f"{address.rstrip('/')}/api/version", headers=dict(access.headers))
    try:
        with urllib.request.urlopen(request, timeout=_CONNECT_SECONDS, context=access.ssl_context()) as response:
            json.load(response)
    except urllib.error.HTTPError as error:
        if error.code >= 500 or error.code == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            problem = f"no cluster responds at {address}: {error}"
            raise SearchError(f"{problem}{describe_proxy(address)}") from error
        # A server is running, and the error of Ray's client is more precise.
    except OSError as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        hint = describe_tls(reason) or describe_proxy(address)
        raise SearchError(f"no cluster responds at {address}: {reason}{hint}") from error
    except ValueError as error:
        raise SearchError(
            f"the server at {address} is not the dashboard of a Ray cluster; {LOGIN_HINT}{describe_proxy(address)}"
        ) from error


@contextmanager
def _override_api_address(address: str) -> Iterator[None]:
    """Set RAY_API_SERVER_ADDRESS inside the block, because it overrides the address passed to Ray's client."""
    earlier = os.environ.get(_API_ADDRESS)
    os.environ[_API_ADDRESS] = address
    try:
        yield
    finally:
        if earlier is None:
            del os.environ[_API_ADDRESS]
        else:
            os.environ[_API_ADDRESS] = earlier
