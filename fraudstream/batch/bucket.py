"""Keep data files in S3: read in ranges of one version, written in parts that become an object at the very end."""

import contextlib
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

from fraudstream.batch.places import DataFile, Opened
from models.s3 import s3_client
from models.s3_download import Patience
from models.s3_errors import PRECONDITION_FAILED, naming, status_of
from models.store import StoreUnavailableError
from schemas.errors import FraudstreamError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 16 * 2**20
"""S3 takes 10,000 parts of an object: files of up to 160 GB."""


class Bucket:
    """The objects of one bucket under one prefix. Credentials and region are found as boto3 finds them."""

    def __init__(self, bucket: str, prefix: str, endpoint: str | None, patience: Patience | None = None) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.patience = patience or Patience()
        self._client = s3_client(endpoint, self.patience)

    def address(self, name: str) -> str:
        """See Place."""
        return f"s3://{self.bucket}/{self.prefix}{name}"

    def files(self) -> list[DataFile]:
        """See Place."""
        with naming(f"s3://{self.bucket}", "s3:ListBucket", self.prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
            found = [
                DataFile(item["Key"].removeprefix(self.prefix), item["Size"])
                for page in pages
                for item in page.get("Contents", [])
            ]
        return sorted(found, key=lambda file: file.name)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Opened]:
        """See Place."""
        key = self.prefix + name
        with naming(f"s3://{self.bucket}", "s3:GetObject", key):
            head = self._client.head_object(Bucket=self.bucket, Key=key)
        source = _Object(self._client, self.bucket, key, head["ETag"], head["ContentLength"], self.patience.attempts)
        with pa.PythonFile(source, "r") as file:
            # Each read names the ETag, so what was changed meanwhile is refused there.
            yield Opened(file, head["ContentLength"], lambda: head["ETag"].strip('"'), lambda: None, is_far=True)

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[pa.NativeFile]:
        """See Place."""
        upload = _Upload(self._client, self.bucket, self.prefix + name)
        try:
            with pa.PythonFile(upload, "w") as file:
                yield file
            upload.complete()
        except BaseException:
            upload.abort()
            raise

    def delete(self, name: str) -> None:
        """See Place."""
        with naming(f"s3://{self.bucket}", "s3:DeleteObject", self.prefix + name):
            self._client.delete_object(Bucket=self.bucket, Key=self.prefix + name)

    def reserve(self) -> contextlib.AbstractContextManager[None]:
        """See Place. Of two runs that write an object the one that ends last wins, and neither sees half of one."""
        return contextlib.nullcontext()


class _Object(io.RawIOBase):
    """One version of an object, each read a GET of a range."""

    def __init__(self, client: "S3Client", bucket: str, key: str, etag: str, size: int, attempts: int) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self._etag = etag
        self._size = size
        self._attempts = attempts
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._at)
        count = left if size is None or size < 0 else min(size, left)
        content = self._range(self._at, count) if count else b""
        self._at += len(content)
        return content

    def _range(self, first: int, count: int) -> bytes:
        """Bytes of the version that was opened. A connection that breaks is followed by another."""
        where = f"s3://{self._bucket}"
        with naming(where, "s3:GetObject", self._key):
            for _ in range(self._attempts):
                try:
                    response = self._client.get_object(
                        Bucket=self._bucket,
                        Key=self._key,
                        Range=f"bytes={first}-{first + count - 1}",
                        IfMatch=self._etag,
                    )
                except ClientError as error:
                    if status_of(error) == PRECONDITION_FAILED:
                        raise FraudstreamError(f"{where}/{self._key} was changed while it was read") from error
                    raise
                # botocore asks again by itself, but not once it has begun to answer.
                with contextlib.suppress(HTTPClientError, IncompleteReadError):
                    return response["Body"].read()
        raise StoreUnavailableError(f"{where}/{self._key} did not arrive whole in {self._attempts} attempts")


class _Upload(io.RawIOBase):
    """An object on its way: parts go as soon as they are full, and nobody sees any of them before ``complete``."""

    def __init__(self, client: "S3Client", bucket: str, key: str) -> None:
        self._client = client
        self._place: dict[str, Any] = {"Bucket": bucket, "Key": key}
        self._waiting = bytearray()
        self._parts: list[CompletedPartTypeDef] = []
        with self._naming():
            begun = client.create_multipart_upload(**self._place)
        self._place["UploadId"] = begun["UploadId"]

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._waiting += data
        while len(self._waiting) >= PART_BYTES:
            self._send(bytes(self._waiting[:PART_BYTES]))
            del self._waiting[:PART_BYTES]
        return len(data)

    def complete(self) -> None:
        """Send the rest and let the object appear."""
        self._send(bytes(self._waiting))
        with self._naming():
            self._client.complete_multipart_upload(**self._place, MultipartUpload={"Parts": self._parts})

    def abort(self) -> None:
        """Give back what was sent. S3 keeps and charges the parts of an upload that nobody ends."""
        with contextlib.suppress(FraudstreamError), self._naming():
            self._client.abort_multipart_upload(**self._place)

    def _send(self, part: bytes) -> None:
        number = len(self._parts) + 1
        with self._naming():
            sent = self._client.upload_part(**self._place, PartNumber=number, Body=part)
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})

    def _naming(self) -> contextlib.AbstractContextManager[None]:
        return naming(f"s3://{self._place['Bucket']}", "s3:PutObject", self._place["Key"])
