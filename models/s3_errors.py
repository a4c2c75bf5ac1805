"""Say in one sentence what S3 refused, and whether another right, another setting or another hour would help."""

import contextlib
from collections.abc import Iterator

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's own; ours are NotPermittedError and its like
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from models.store import NotStoredError, StoreUnavailableError
from schemas.errors import ConfigurationError, FraudstreamError, NotPermittedError

NOT_MODIFIED = 304
PRECONDITION_FAILED = 412

_EXPIRED = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired")
_BUSY = ("RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "RequestTimeTooSkewed")


def status_of(error: ClientError) -> int:
    """The HTTP status of the answer."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def is_missing_key(error: ClientError) -> bool:
    """Whether it is the object that is not there; a HEAD has no body that could say more than 404."""
    return error.response["Error"]["Code"] in ("NoSuchKey", "404", "NotFound")


@contextlib.contextmanager
def naming(url: str, right: str, key: str) -> Iterator[None]:
    """Turn what botocore raises in here into an error that names the object and the right that was used."""
    try:
        yield
    except ClientError as error:
        raise _refusal(error, url, right, key) from error
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError) as error:
        raise NotPermittedError(f"{url} cannot be used: {str(error).rstrip('.')}") from error
    except (ConnectionError, HTTPClientError, ResponseParserError) as error:
        raise StoreUnavailableError(f"{key} in {url}: S3 does not answer ({type(error).__name__})") from error
    except BotoCoreError as error:
        raise ConfigurationError(f"{url} cannot be used: {str(error).rstrip('.')}") from error


def _refusal(error: ClientError, url: str, right: str, key: str) -> FraudstreamError:
    status, code = status_of(error), error.response["Error"]["Code"]
    if is_missing_key(error):
        return NotStoredError(f"there is no {key} in {url}")
    if code == "NoSuchBucket":
        return ConfigurationError(f"{url}: there is no such bucket")
    if status in (401, 403) or code in _EXPIRED:
        return NotPermittedError(f"{right} on {url}/{key} is not permitted ({code})")
    if status >= 500 or status == 429 or code in _BUSY:
        return StoreUnavailableError(f"{key} in {url}: S3 is too busy or out of order ({code})")
    return ConfigurationError(f"{url} cannot be used: S3 answers {status} ({code}) to {right}")
