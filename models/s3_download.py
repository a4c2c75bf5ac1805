"""Read an object from S3 whole, through connections that break, and never two versions mixed."""

import base64
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from botocore.exceptions import ClientError
from urllib3.exceptions import HTTPError

from models.body import pieces
from models.s3_errors import PRECONDITION_FAILED, is_missing_key, status_of
from models.store import Progress, Stored, StoreUnavailableError, too_large


@dataclass(frozen=True, slots=True)
class Patience:
    """How long S3 may take: seconds to connect and for the next byte, and how often it is asked.

    A download must also reach ``least_rate`` (bytes/s) after ``grace`` seconds: one byte every nine seconds would
    otherwise never end.
    """

    connect: float = 5
    read: float = 10
    attempts: int = 4
    grace: float = 30
    least_rate: float = 2**20


@dataclass(slots=True)
class _Partial:
    """What has arrived of one version of an object. ``checksum`` is that of S3, where it has one of the whole."""

    etag: str
    size: int
    checksum: str | None
    content: bytearray

    @classmethod
    def begun(cls, response: Mapping[str, Any]) -> Self:
        checksum = response.get("ChecksumSHA256")
        # An object that was uploaded in N parts has a checksum of checksums, with -N at its end.
        whole = checksum if checksum and "-" not in checksum else None
        return cls(response["ETag"], response["ContentLength"], whole, bytearray())

    def rest(self) -> dict[str, str]:
        """Ask for what is missing, and only of the version that was begun."""
        return {"Range": f"bytes={len(self.content)}-", "IfMatch": self.etag}

    def is_sound(self) -> bool:
        digest = base64.b64encode(hashlib.sha256(self.content).digest()).decode()
        return len(self.content) == self.size and self.checksum in (None, digest)


def download(
    ask: Callable[..., Any],
    source: str,
    most: int,
    patience: Patience,
    progress: Progress,
    condition: Mapping[str, str],
) -> Stored:
    """The object that ``ask(**condition)`` gives (a GetObject), whole and as it was at one moment.

    After a cut the rest is asked for under the etag of what has arrived (If-Match). Where the object was changed
    meanwhile S3 refuses that, and the download begins again with the new version. In the end the length and S3's own
    SHA-256 must be right. Raises StoreUnavailableError where this does not succeed in ``patience.attempts``.
    """
    partial: _Partial | None = None
    give_up = time.monotonic() + patience.grace
    for _ in range(patience.attempts):
        try:
            response = ask(**(partial.rest() if partial else condition))
        except ClientError as error:
            if partial is None or not _says_changed(error):
                raise
            partial = None
            continue
        if partial is None or "ContentRange" not in response:
            partial = _Partial.begun(response)
            if partial.size > most:
                response["Body"].close()
                raise too_large(source.rpartition("/")[0], source.rpartition("/")[2], most)
            give_up = max(give_up, time.monotonic() + partial.size / patience.least_rate)
        _fill(partial, response["Body"], give_up, progress)
        if partial.is_sound():
            return Stored(bytes(partial.content), partial.etag)
        if len(partial.content) >= partial.size:
            partial = None
        if time.monotonic() > give_up:
            raise StoreUnavailableError(f"{source} arrives too slowly: given up")
    raise StoreUnavailableError(f"{source} did not arrive whole in {patience.attempts} attempts")


def _fill(partial: _Partial, body: Any, give_up: float, progress: Progress) -> None:
    """Take what comes, until the end, a cut, or the time to give up."""
    try:
        for piece in pieces(body):
            partial.content += piece
            progress(len(partial.content))
            if len(partial.content) >= partial.size or time.monotonic() > give_up:
                return
    except (HTTPError, OSError):
        return


def _says_changed(error: ClientError) -> bool:
    return status_of(error) in (PRECONDITION_FAILED, 416) or is_missing_key(error)
