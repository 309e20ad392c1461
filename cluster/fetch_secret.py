#!/usr/bin/env python
"""Copy a secret from a cloud's secret store into a file of mode 600. Prints nothing.

    fetch_secret.py aws://REGION/NAME FILE        AWS Secrets Manager
    fetch_secret.py gcp://PROJECT/NAME FILE       Google Secret Manager, latest version

The machine's role grants access, so no key is needed. Requires the standard library, and boto3 for AWS.
"""

import base64
import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_TIMEOUT_SECONDS = 30.0


def read_aws(region: str, name: str) -> bytes:
    """Read a secret of AWS Secrets Manager."""
    import boto3

    response = boto3.client("secretsmanager", region_name=region).get_secret_value(SecretId=name)
    return response["SecretString"].encode() if "SecretString" in response else bytes(response["SecretBinary"])


def read_gcp(project: str, name: str, *, store: str = "https://secretmanager.googleapis.com") -> bytes:
    """Read the latest version of a secret of Google Secret Manager. Works on machines of Google Cloud only."""
    metadata = f"http://{os.environ.get('GCE_METADATA_HOST', 'metadata.google.internal')}/computeMetadata/v1"
    account = _get(f"{metadata}/instance/service-accounts/default/token", {"Metadata-Flavor": "Google"})
    path = f"v1/projects/{project}/secrets/{name}/versions/latest:access"
    response = _get(f"{store}/{path}", {"Authorization": f"Bearer {account['access_token']}"})
    return base64.b64decode(response["payload"]["data"])


def write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 600 atomically: no other user can read it at any time."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    temporary.replace(path)


def main() -> None:
    """Copy the secret that the arguments name; exit with the reason if this fails."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    url = urlsplit(sys.argv[1])
    store, name = url.netloc, url.path.strip("/")
    if url.scheme not in ("aws", "gcp") or not store or not name:
        sys.exit(f"secret must be aws://REGION/NAME or gcp://PROJECT/NAME, got {sys.argv[1]!r}")
    try:
        content = read_aws(store, name) if url.scheme == "aws" else read_gcp(store, name)
    except Exception as error:  # boto3 and urllib have different errors; none of them contains the secret
        sys.exit(f"cannot read secret {sys.argv[1]}: {type(error).__name__}: {error}")
    write_private(Path(sys.argv[2]).expanduser(), content)


def _get(url: str, headers: dict[str, str]) -> dict[str, Any]:
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
        body: dict[str, Any] = json.load(response)
        return body


if __name__ == "__main__":
    main()
