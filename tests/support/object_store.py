"""A local object store with the S3 API, which counts its requests."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

import boto3
import pytest
from moto.server import DomainDispatcherApplication, ThreadedMotoServer

from cluster.local.ports import free_port

BUCKET = "searches"


@contextmanager
def running_object_store(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run a store with one bucket, put its keys into the environment, and yield the URL of the bucket with options."""
    port = free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    keys = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**keys, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        patch.setenv(name, value)
    try:
        boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}").create_bucket(Bucket=BUCKET)
        yield f"s3://{BUCKET}?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    finally:
        server.stop()


@contextmanager
def counted_requests() -> Iterator[Counter[str]]:
    """Count the requests to the stores of this process by kind: LIST, or the method of HTTP."""
    real, counts = DomainDispatcherApplication.__call__, Counter[str]()

    def counting(self: DomainDispatcherApplication, environ: dict[str, Any], start_response: Any) -> Any:
        options = parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
        is_listing = environ["REQUEST_METHOD"] == "GET" and {"list-type", "prefix"} & options.keys()
        counts["LIST" if is_listing else environ["REQUEST_METHOD"]] += 1
        return real(self, environ, start_response)

    DomainDispatcherApplication.__call__ = counting
    try:
        yield counts
    finally:
        DomainDispatcherApplication.__call__ = real
