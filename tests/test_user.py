"""Users without a name or a home folder, in a real user namespace."""

import os
import subprocess
import sys

import pytest

NAMELESS = ["unshare", "--user", "--map-user=54321", "--map-group=54321", "env", "-u", "HOME", "-u", "USER"]


def can_be_nameless() -> bool:
    try:
        return subprocess.run([*NAMELESS, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not can_be_nameless(), reason="this machine has no user namespaces")
def test_a_user_without_name_and_home_gets_both_and_its_workers_inherit_them() -> None:
    code = """
import getpass, os, subprocess, sys
from pathlib import Path
for function in (getpass.getuser, Path.home):
    try:
        function()
    except (KeyError, OSError, RuntimeError):
        continue
    raise AssertionError(function)
import lkca_search
assert getpass.getuser() == "uid-54321"
assert Path.home().stat().st_mode & 0o777 == 0o700
worker = [sys.executable, "-c", "import getpass, pathlib; print(getpass.getuser(), pathlib.Path.home())"]
assert subprocess.check_output(worker, text=True).split() == ["uid-54321", str(Path.home())]
from ray import tune
"""
    environment = {name: value for name, value in os.environ.items() if name not in ("LOGNAME", "LNAME", "USERNAME")}
    done = subprocess.run([*NAMELESS, sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_user_with_name_and_home_keeps_them() -> None:
    code = (
        "import os; before = dict(os.environ); import lkca_search; print(os.environ.get('HOME') == before.get('HOME'))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "True\n"
