"""A service of buckets on the loopback interface: moto's S3."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

KEY = "AKIATESTKEY"
SECRET = "not-to-be-told"


@dataclass
class Buckets:
    """``client``: boto3's, as another program."""

    url: str
    client: Any

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def keys(self, bucket: str) -> list[str]:
        answer = self.client.list_objects_v2(Bucket=bucket)
        return sorted(row["Key"] for row in answer.get("Contents", ()))


@contextmanager
def buckets(*names: str) -> Iterator[Buckets]:
    """A service with these buckets."""
    import boto3
    from moto.server import ThreadedMotoServer

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    try:
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )
        for name in names:
            client.create_bucket(Bucket=name)
        yield Buckets(f"http://127.0.0.1:{port}", client)
    finally:
        server.stop()
