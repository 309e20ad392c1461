"""Errors that may be shown: without the passwords that addresses and the environment hold."""

import os
import re
from urllib.parse import unquote

_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_USER_INFO = re.compile(r"(?<=://)[^\s/?#'\"]*@")
_PASSWORD = re.compile(r"://[^:/@\s]*:(.+)@")
"""The password of one address: greedy, since one that nobody quoted may hold any character."""


def redacted(error: Exception, address: str) -> Exception:
    """The same error where neither it nor what it came from shows a secret, else one of its text without them."""
    passwords = _PASSWORD.findall(address) + [os.environ.get(name, "") for name in _SECRETS]
    secrets = {text for password in passwords for text in (password, unquote(password)) if text}
    # An address that cannot be parsed is complained of in pieces, at the marks by which addresses are taken apart.
    secrets |= {piece for secret in secrets for piece in re.split(r"[@:/?#]", secret) if len(piece) >= 3}

    def hide(text: str) -> str:
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return _USER_INFO.sub("***@", text)

    link: BaseException | None = error
    while link is not None and hide(repr(link)) == repr(link) and hide(str(link)) == str(link):
        link = link.__cause__ or link.__context__
    return error if link is None else RuntimeError(hide(f"{type(error).__name__}: {error}"))
