"""fetch_secret.py copies a secret from a cloud's store into a private file."""

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

from cluster.fetch_secret import read_gcp, write_private
from cluster.local.ports import free_port
from tests.support.cluster.autoscaler_files import CLUSTER, commands
from tests.support.processes import Answer

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


def test_a_secret_of_aws_is_written_to_a_file_that_only_its_owner_can_read(
    secrets_manager: None, tmp_path: Path
) -> None:
    file = tmp_path / "new" / "secret"
    for _ in range(2):  # the second replaces the first
        assert fetch("aws://eu-west-1/lkca-search/a-secret", str(file)) == (0, "", "")
        assert file.read_bytes() == CONTENT
        assert file.stat().st_mode & 0o777 == 0o600
        assert [path.name for path in file.parent.iterdir()] == ["secret"]
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_missing_secret_is_an_error_and_leaves_no_file(secrets_manager: None, tmp_path: Path) -> None:
    answer = fetch("aws://eu-west-1/lkca-search/another", str(tmp_path / "file"))
    assert answer.code == 1
    assert answer.err.startswith("cannot read secret aws://eu-west-1/lkca-search/another: ResourceNotFoundException")
    assert list(tmp_path.glob("file*")) == []


class Google(BaseHTTPRequestHandler):
    """Metadata server and Secret Manager, as a machine of Google Cloud sees them."""

    def do_GET(self) -> None:
        responses = {
            "/computeMetadata/v1/instance/service-accounts/default/token": (
                self.headers.get("Metadata-Flavor") == "Google",
                {"access_token": "of-the-machine"},
            ),
            "/v1/projects/a-project/secrets/a-secret/versions/latest:access": (
                self.headers.get("Authorization") == "Bearer of-the-machine",
                {"payload": {"data": base64.b64encode(CONTENT).decode()}},
            ),
        }
        is_allowed, body = responses[self.path]
        self.send_response(200 if is_allowed else 403)
        self.end_headers()
        self.wfile.write(json.dumps(body if is_allowed else {}).encode())

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


def test_a_secret_of_google_is_read_with_the_machines_service_account(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_invalid_arguments_are_an_error_that_states_the_form(arguments: tuple[str, ...]) -> None:
    answer = fetch(*arguments)
    assert answer.code == 1
    assert "aws://REGION/NAME" in answer.err


def test_a_readable_file_is_replaced_by_a_private_one(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"old")
    file.chmod(0o644)
    write_private(file, CONTENT)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (CONTENT, 0o600)


def test_the_image_has_the_script_under_the_name_that_the_cluster_files_call() -> None:
    copied = f"COPY cluster/{SCRIPT.name} /usr/local/bin/fetch-secret\n"
    assert copied in (CLUSTER / "Dockerfile").read_text()
    assert SCRIPT.stat().st_mode & 0o111 == 0o111
    calls = [command.text.split() for name in ("aws", "gcp") for command in commands(name) if "fetch" in command.text]
    assert len(calls) == 8
    assert all(len(call) == 3 and call[0] == "fetch-secret" for call in calls)
