"""Access to a dashboard behind a login, a private certificate or a proxy."""

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from lkca_search.errors import SearchError
from lkca_search.user import expand_user

HEADERS_VARIABLE = "RAY_JOB_HEADERS"
LOGIN_HINT = (
    f'for a dashboard behind a login, set {HEADERS_VARIABLE}, for example to \'{{"Authorization": "Bearer ..."}}\''
)
_CERTIFICATE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


@dataclass(frozen=True, kw_only=True)
class Access:
    """Headers of each request to a dashboard, and the check of its certificate."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """HTTP headers, which may hold a secret."""
    verify: bool | str = True
    """File or folder of trusted certificates; True for those of the system, False for no check."""

    @classmethod
    def parse(cls, headers: str | None, verify: str | None, environment: Mapping[str, str]) -> "Access":
        """Parse the options `--headers` and `--verify`; SearchError if one is malformed."""
        bundle = next((environment[name] for name in _CERTIFICATE_VARIABLES if environment.get(name)), None)
        return cls(headers=_parse_headers(headers), verify=_parse_verify(verify or bundle or "true"))

    def ssl_context(self) -> ssl.SSLContext | None:
        """Context of a TLS connection; None for the default one."""
        if self.verify is True:
            return None
        if self.verify is False:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            return context
        path = str(self.verify)
        is_folder = os.path.isdir(path)
        return ssl.create_default_context(cafile=None if is_folder else path, capath=path if is_folder else None)


def describe_proxy(address: str) -> str:
    """Return the hint that a proxy catches the requests to an address; an empty text if none does."""
    url = urlsplit(address)
    host, proxies = url.hostname or "", getproxies()
    kind = url.scheme if url.scheme in proxies else "all"
    if kind not in proxies or proxy_bypass(host):
        return ""
    names = [name for name in (f"{kind}_proxy", f"{kind}_proxy".upper()) if os.environ.get(name)]
    proxy = urlsplit(proxies[kind])
    shown = f"{proxy.scheme}://{proxy.netloc.rpartition('@')[2]}" if proxy.netloc else "a proxy"
    return f"; {names[0] if names else kind} sends the request to {shown}: to avoid it, set NO_PROXY={host}"


def describe_tls(error: object) -> str:
    """Return the hint to a certificate that cannot be verified; an empty text for another error."""
    if not isinstance(error, ssl.SSLCertVerificationError) and "CERTIFICATE_VERIFY_FAILED" not in str(error):
        return ""
    return "; give the file with its certificate authority by --verify FILE, or --verify false for no check"


def _parse_headers(text: str | None) -> dict[str, str]:
    if not text:
        return {}
    try:
        headers = json.loads(text)
        is_valid = isinstance(headers, dict) and all(isinstance(value, str) for value in headers.values())
    except ValueError:
        is_valid = False
    if not is_valid:  # the value may be a secret, so it is not printed
        raise SearchError(f"{HEADERS_VARIABLE} or --headers must be a JSON object with texts; {LOGIN_HINT}")
    return dict(headers)


def _parse_verify(text: str) -> bool | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    path = expand_user(text)
    if not path.exists():
        raise SearchError(f"--verify must be true, false, or a file or folder of certificates, got {text!r}")
    try:
        Access(verify=str(path)).ssl_context()
    except (OSError, ssl.SSLError) as error:
        raise SearchError(f"--verify must be a file of certificates in PEM format, got {text!r}: {error}") from error
    return str(path)
