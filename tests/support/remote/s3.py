"""A real service of S3 on the loopback interface, with what the environment has to say to use it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import pytest
from moto.server import ThreadedMotoServer

SETTINGS = {
    "AWS_ACCESS_KEY_ID": "name",
    "AWS_SECRET_ACCESS_KEY": "geheimnis",
    "AWS_REGION": "us-east-1",
}


@contextmanager
def s3(bucket: str, objects: dict[str, bytes]) -> Iterator[dict[str, str]]:
    """The environment for a service with these objects in a bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {**SETTINGS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(name, value)
            client = boto3.client(
                "s3", region_name="us-east-1", endpoint_url=settings["AWS_ENDPOINT_URL"]
            )
            client.create_bucket(Bucket=bucket)
            for key, content in objects.items():
                client.put_object(Bucket=bucket, Key=key, Body=content)
        yield settings
    finally:
        server.stop()
