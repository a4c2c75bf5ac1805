"""Keep objects in S3, where conditional writes let exactly one of two writers win."""

import base64
import hashlib
import io
import random
import time
import uuid
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from models.s3_download import Patience, download
from models.s3_errors import NOT_MODIFIED, PRECONDITION_FAILED, is_missing_key, naming, status_of
from models.store import (
    MOST_BYTES,
    ConflictError,
    Progress,
    Stored,
    StoreUnavailableError,
    check_key,
    unheard,
)
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CONFLICT = 409
_WRITE_ID = "fraudstream-write"


class S3Store:
    """Objects of one bucket, under one prefix. Credentials and region are found as boto3 finds them."""

    def __init__(
        self, bucket: str, prefix: str = "", endpoint: str | None = None, patience: Patience | None = None
    ) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.patience = patience or Patience()
        self._client = s3_client(endpoint, self.patience)

    @property
    def url(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def get(self, key: str, most: int = MOST_BYTES, progress: Progress = unheard) -> Stored:
        """See ObjectStore."""
        return self._get(key, most, progress)

    def get_if_changed(self, key: str, etag: str) -> Stored | None:
        """See ObjectStore."""
        try:
            return self._get(key, MOST_BYTES, unheard, IfNoneMatch=etag)
        except _UnchangedError:
            return None

    def create(self, key: str, content: bytes, progress: Progress = unheard) -> str:
        """See ObjectStore."""
        return self._put(key, content, f"{key} exists already in {self.url}", progress, IfNoneMatch="*")

    def replace(self, key: str, content: bytes, etag: str) -> str:
        """See ObjectStore."""
        return self._put(key, content, f"{key} in {self.url} was changed by somebody else", unheard, IfMatch=etag)

    def keys(self, prefix: str) -> list[str]:
        """See ObjectStore."""
        with naming(self.url, "s3:ListBucket", prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            found = [item["Key"].removeprefix(self.prefix) for page in pages for item in page.get("Contents", [])]
        return sorted(found)

    def _get(self, key: str, most: int, progress: Progress, **condition: str) -> Stored:
        def ask(**more: Any) -> Any:
            return self._client.get_object(
                Bucket=self.bucket, Key=self.prefix + check_key(key), ChecksumMode="ENABLED", **more
            )

        with naming(self.url, "s3:GetObject", key):
            try:
                return download(ask, f"{self.url}/{key}", most, self.patience, progress, condition)
            except ClientError as error:
                if status_of(error) == NOT_MODIFIED:
                    raise _UnchangedError from error
                raise

    def _put(self, key: str, content: bytes, conflict: str, progress: Progress, **condition: str) -> str:
        """Write under the condition. A 409 says that two writes met and neither was judged: it is asked again."""
        write_id = uuid.uuid4().hex
        with naming(self.url, "s3:PutObject", key):
            for attempt in range(self.patience.attempts):
                try:
                    written = self._client.put_object(
                        Bucket=self.bucket,
                        Key=self.prefix + check_key(key),
                        Body=_Watched(content, progress),
                        ContentLength=len(content),
                        ChecksumAlgorithm="SHA256",
                        ChecksumSHA256=base64.b64encode(hashlib.sha256(content).digest()).decode(),
                        Metadata={_WRITE_ID: write_id},
                        **condition,  # type: ignore[arg-type]
                    )
                    return written["ETag"]
                except ClientError as error:
                    if status_of(error) == PRECONDITION_FAILED or ("IfMatch" in condition and is_missing_key(error)):
                        return self._etag_if_ours(key, write_id, conflict)
                    if status_of(error) != _CONFLICT:
                        raise
                time.sleep(random.uniform(0, 0.1 * 2**attempt))  # noqa: S311 - hides nothing # nosec B311
        raise StoreUnavailableError(f"{key} in {self.url}: others keep writing to it at the same moment")

    def _etag_if_ours(self, key: str, write_id: str, conflict: str) -> str:
        """The etag where the write that was refused is one that was made already, and whose answer got lost.

        botocore asks again when a connection breaks, and then our own object stands in our way.
        """
        try:
            head = self._client.head_object(Bucket=self.bucket, Key=self.prefix + key)
        except ClientError as error:
            if is_missing_key(error):
                raise ConflictError(conflict) from error
            raise
        if head["Metadata"].get(_WRITE_ID) != write_id:
            raise ConflictError(conflict)
        return head["ETag"]


class _UnchangedError(Exception):
    """The object has the etag that was asked about."""


class _Watched(io.BytesIO):
    """A body that says how far it has been read."""

    def __init__(self, content: bytes, progress: Progress) -> None:
        super().__init__(content)
        self._progress = progress

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self._progress(self.tell())
        return piece


def s3_client(endpoint: str | None, patience: Patience) -> "S3Client":
    """A client that finds its credentials and region as boto3 does. Raises ConfigurationError where it cannot."""
    config = Config(
        connect_timeout=patience.connect,
        read_timeout=patience.read,
        retries={"mode": "standard", "total_max_attempts": patience.attempts},
        # Services other than AWS's rarely have a host name for each bucket.
        s3={"addressing_style": "path"} if endpoint else None,
    )
    try:
        return boto3.session.Session().client("s3", endpoint_url=endpoint, config=config)
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"store: S3 cannot be used: {error}") from error
