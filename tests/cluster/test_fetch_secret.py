"""cluster/fetch_secret.py: from a secret store into a private file, and nothing on the way."""

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from cluster.local.ports import free_port
from tests.support.cluster.autoscaler_files import CLUSTER, commands
from tests.support.processes import Answer

sys.path.insert(0, str(CLUSTER))
from fetch_secret import read_gcp, write_private

SCRIPT = CLUSTER / "fetch_secret.py"
CONTENT = b"line one\nline two without an end"


def fetch(*arguments: str) -> Answer:
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=90)
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def secrets_manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    port = free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    try:
        store = boto3.client("secretsmanager", region_name="eu-west-1")
        store.create_secret(Name="lkca-search/a-secret", SecretString=CONTENT.decode())
        yield
        store.delete_secret(SecretId="lkca-search/a-secret", ForceDeleteWithoutRecovery=True)
    finally:
        server.stop()


def test_a_secret_of_aws_comes_into_a_file_that_only_its_owner_reads(secrets_manager: None, tmp_path: Path) -> None:
    file = tmp_path / "new" / "secret"
    for _ in range(2):  # the second takes the place of the first
        assert fetch("aws://eu-west-1/lkca-search/a-secret", str(file)) == (0, "", "")
        assert file.read_bytes() == CONTENT
        assert file.stat().st_mode & 0o777 == 0o600
        assert [path.name for path in file.parent.iterdir()] == ["secret"]
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_secret_that_is_not_there_is_an_error_and_leaves_no_file(secrets_manager: None, tmp_path: Path) -> None:
    answer = fetch("aws://eu-west-1/lkca-search/another", str(tmp_path / "file"))
    assert answer.code == 1
    assert answer.err.startswith("no secret aws://eu-west-1/lkca-search/another: ResourceNotFoundException")
    assert list(tmp_path.glob("file*")) == []


class Google(BaseHTTPRequestHandler):
    """What a machine of Google's asks: who it is, of its metadata server, and then for a secret."""

    def do_GET(self) -> None:
        asked = {
            "/computeMetadata/v1/instance/service-accounts/default/token": (
                self.headers.get("Metadata-Flavor") == "Google",
                {"access_token": "of-the-machine"},
            ),
            "/v1/projects/a-project/secrets/a-secret/versions/latest:access": (
                self.headers.get("Authorization") == "Bearer of-the-machine",
                {"payload": {"data": base64.b64encode(CONTENT).decode()}},
            ),
        }
        is_allowed, answer = asked[self.path]
        self.send_response(200 if is_allowed else 403)
        self.end_headers()
        self.wfile.write(json.dumps(answer if is_allowed else {}).encode())

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def test_a_secret_of_google_is_opened_by_who_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Google)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        host = f"127.0.0.1:{server.server_port}"
        monkeypatch.setenv("GCE_METADATA_HOST", host)
        assert read_gcp("a-project", "a-secret", store=f"http://{host}") == CONTENT
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "arguments", [(), ("aws://eu-west-1/a",), ("azure://a/b", "file"), ("aws://eu-west-1", "file")]
)
def test_a_mistake_is_answered_by_the_rule(arguments: tuple[str, ...]) -> None:
    answer = fetch(*arguments)
    assert answer.code == 1
    assert "aws://REGION/NAME" in answer.err


def test_a_file_that_others_could_read_is_never_written(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"old")
    file.chmod(0o644)
    write_private(file, CONTENT)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (CONTENT, 0o600)


def test_the_image_has_the_script_as_the_files_call_it() -> None:
    copied = f"COPY cluster/{SCRIPT.name} /usr/local/bin/fetch-secret\n"
    assert copied in (CLUSTER / "Dockerfile").read_text()
    assert SCRIPT.stat().st_mode & 0o111 == 0o111
    calls = [command.text.split() for name in ("aws", "gcp") for command in commands(name) if "fetch" in command.text]
    assert len(calls) == 8
    assert all(len(call) == 3 and call[0] == "fetch-secret" for call in calls)
