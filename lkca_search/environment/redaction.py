"""Removal of secrets from texts that are stored: command lines, and differences of a checkout."""

import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

HIDDEN = "***"
"""Text in place of a secret."""
SECRET_NAME = re.compile(r"(PASSWORD|PASSWD|PASSPHRASE|TOKEN|SECRET|CREDENTIAL|KEY)S?(_|\d|$)", re.IGNORECASE)
"""Name of a variable or of a key in a URL whose value is a secret."""
_MIN_CHARACTERS = 6
"""Shortest value of a variable that is searched in a text: shorter ones occur by chance."""
_USER_INFO = re.compile(r"(?<=://)[^\s/?#'\"]+@")
_HEADER = re.compile(r"(?i)\b(authorization['\"]?\s*[:=]\s*['\"]?(?:bearer|basic|token)?\s*)[^\s'\",}]+")
# The length of a name is bounded and it begins at its start, so that a long word takes no quadratic time.
_PASSWORD = re.compile(
    r"(?i)(?<![\w.-])([\w.-]{0,64}?(?:password|passwd|passphrase|secret|credential|api[_-]?key|access[_-]?key"
    r"|private[_-]?key)[\w.-]{0,64}['\"]?\s*[:=]\s*)(?:'[^']*'|\"[^\"]*\"|[^\s'\",;&]+)"
)
_TOKEN = re.compile(
    r"(?i)(?<![\w.-])([\w.-]{0,64}?(?:token|key|auth|pwd)s?['\"]?\s*[:=]\s*)"
    r"(?:'[^'\s]{8,}'|\"[^\"\s]{8,}\"|(?=[\w./+-]*\d)(?=[\w./+-]*[a-z])[\w./+-]{16,})"
)
"""Assignment to a name that code also uses for other things, so only a long value is a secret."""
_KNOWN = re.compile(
    r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_[A-Za-z0-9]{20,}"
    r"|sk-[\w-]{20,}|xox[abprs]-[\w-]{10,}|AIza[\w-]{35}|eyJ[\w-]{8,4000}\.eyJ[\w-]{8,4000}\.[\w-]+)"
)
"""Keys of cloud providers and code hosts, and JSON Web Tokens."""
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


def redact(text: str) -> str:
    """Return a text without secrets: by their names, by their known forms, and the values of secret variables."""
    for name, value in os.environ.items():
        if SECRET_NAME.search(name) and len(value) >= _MIN_CHARACTERS and not Path(value).is_absolute():
            text = text.replace(value, HIDDEN)
    text = _PRIVATE_KEY.sub(HIDDEN, text)
    text = _USER_INFO.sub(f"{HIDDEN}@", text)
    for pattern in (_HEADER, _PASSWORD, _TOKEN):
        text = pattern.sub(rf"\g<1>{HIDDEN}", text)
    return _KNOWN.sub(HIDDEN, text)


def command_line(arguments: Sequence[str] | None = None) -> str:
    """Return the command of this process as a shell would read it, without secrets.

    The value of an option whose name is that of a secret is hidden, and so are HTTP headers. The program has no folder:
    it is that of an environment on this machine, and records may be published.
    """
    given = list(sys.argv if arguments is None else arguments)
    if given:
        program = Path(given[0])
        is_package = program.name == "__main__.py" and program.parent.name == "lkca_search"
        given[0] = "lkca-search" if is_package else program.name
    return shlex.join(_redact_options(given))


def _redact_options(arguments: Sequence[str]) -> Iterator[str]:
    hides_next = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        is_option = name.startswith("-")
        is_secret = is_option and bool(SECRET_NAME.search(name.replace("-", "_")) or name == "--headers")
        if hides_next and not is_option:
            yield HIDDEN
        elif is_secret and equals:
            yield f"{name}={HIDDEN}"
        else:
            yield redact(argument)
        hides_next = is_secret and not equals
