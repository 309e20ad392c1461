#!/usr/bin/env python
"""Bring a secret from a cloud's secret store into a file that only its owner reads; nothing is printed.

    fetch_secret.py aws://REGION/NAME FILE        AWS Secrets Manager
    fetch_secret.py gcp://PROJECT/NAME FILE       Google Secret Manager, its latest version

The role of the machine opens the store, so that there is no key. Only the standard library is needed, on AWS boto3 too.
"""

import base64
import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_SECONDS = 30.0


def read_aws(region: str, name: str) -> bytes:
    """Read a secret of AWS Secrets Manager."""
    import boto3

    answer = boto3.client("secretsmanager", region_name=region).get_secret_value(SecretId=name)
    return answer["SecretString"].encode() if "SecretString" in answer else bytes(answer["SecretBinary"])


def read_gcp(project: str, name: str, *, store: str = "https://secretmanager.googleapis.com") -> bytes:
    """Read the latest version of a secret of Google Secret Manager, on a machine of Google's."""
    metadata = f"http://{os.environ.get('GCE_METADATA_HOST', 'metadata.google.internal')}/computeMetadata/v1"
    account = _get(f"{metadata}/instance/service-accounts/default/token", {"Metadata-Flavor": "Google"})
    path = f"v1/projects/{project}/secrets/{name}/versions/latest:access"
    answer = _get(f"{store}/{path}", {"Authorization": f"Bearer {account['access_token']}"})
    return base64.b64decode(answer["payload"]["data"])


def write_private(path: Path, content: bytes) -> None:
    """Write a file with mode 600 in one step: never is there half of it, nor for a moment one that others read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    temporary.replace(path)


def main() -> None:
    """Do what the arguments say."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    url = urlsplit(sys.argv[1])
    place, name = url.netloc, url.path.strip("/")
    if url.scheme not in ("aws", "gcp") or not place or not name:
        sys.exit(f"a secret is aws://REGION/NAME or gcp://PROJECT/NAME, got {sys.argv[1]!r}")
    try:
        content = read_aws(place, name) if url.scheme == "aws" else read_gcp(place, name)
    except Exception as error:  # boto3 and urllib have each their own; what they say holds no secret
        sys.exit(f"no secret {sys.argv[1]}: {type(error).__name__}: {error}")
    write_private(Path(sys.argv[2]).expanduser(), content)


def _get(url: str, headers: dict[str, str]) -> dict[str, Any]:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_SECONDS) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


if __name__ == "__main__":
    main()
