"""A PostgreSQL server that requires a password from every user except `tests`."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.local.ports import free_port
from tests.support.postgres import Postgres, running_postgres

_RULES = "host all tests 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"


@contextmanager
def guarded_postgres() -> Iterator[Postgres]:
    """Run a server below /tmp: its own user cannot read the folders of pytest."""
    with tempfile.TemporaryDirectory(prefix="lkca-pg-", dir="/tmp") as root:
        Path(root).chmod(0o755)
        folder = Path(root) / "server"
        with running_postgres(folder, free_port()) as server:
            (folder / "data" / "pg_hba.conf").write_text(_RULES)
            server.stop("fast")
            server.start()
            yield server
