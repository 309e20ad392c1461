"""File names that every file system accepts. One that is too long keeps its front and gets a hash: it stays unique."""

import hashlib

MAX_NAME_BYTES = 255
"""Longest file name on common file systems, in bytes of UTF-8."""
_HASH_DIGITS = 16


def is_too_long(name: str, *, max_bytes: int = MAX_NAME_BYTES) -> bool:
    """Return True if a name has more than `max_bytes` bytes. An accented letter has two bytes or more."""
    return len(_encode(name)) > max_bytes


def shorten_name(name: str, *, max_bytes: int = MAX_NAME_BYTES) -> str:
    """Return a name unchanged if it has at most `max_bytes` bytes, else its front and a hash of all of it."""
    if not is_too_long(name, max_bytes=max_bytes):
        return name
    ending = f"-{hash_name(name)}"
    front = _encode(name)[: max_bytes - len(ending)].decode(errors="ignore")  # a character that is cut is left out
    return front + ending


def hash_name(name: str) -> str:
    """Return 16 hexadecimal digits that depend on the whole name."""
    return hashlib.sha256(_encode(name)).hexdigest()[:_HASH_DIGITS]


def plain_name(text: str) -> str:
    """Return a text with an underscore in place of each character that is neither a letter nor a digit."""
    return "".join(char if char.isalnum() else "_" for char in text)


def _encode(name: str) -> bytes:
    return name.encode(errors="surrogateescape")  # a file name that is not UTF-8
