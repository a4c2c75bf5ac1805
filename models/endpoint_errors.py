"""Decide what an error of InvokeEndpoint says: of the rows, of our rights, of the endpoint, or of this moment."""

from enum import Enum
from typing import cast

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    TokenRetrievalError,
)
from urllib3.exceptions import HTTPError
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError

from models.breaker import Ended
from models.endpoint_text import BadAnswerError
from models.s3_errors import status_of


class Fault(Enum):
    """What became of a request that gave no scores; the text follows the name of the endpoint."""

    REFUSED = "refuses what it was asked"
    THROTTLED = "is throttled or not ready"
    NOT_PERMITTED = "may not be invoked: sagemaker:InvokeEndpoint is denied, or the credentials are not good"
    MISSING = "does not exist or is not in service, or has no such variant or component"
    WRONG_ANSWER = "gives no valid answer"
    FAILED = "fails"
    TIMED_OUT = "does not answer in time"
    OVER_BUDGET = "has not answered within the budget of the batch"

    @property
    def ended(self) -> Ended:
        """How the circuit breaker counts it."""
        if self is Fault.REFUSED:
            return Ended.ANSWERED
        return Ended.TIMED_OUT if self in (Fault.TIMED_OUT, Fault.OVER_BUDGET) else Ended.FAILED


TRIED_AGAIN = (Fault.THROTTLED, Fault.WRONG_ANSWER, Fault.FAILED, Fault.TIMED_OUT)
"""A second attempt may end otherwise; one about rows, rights or names does not."""

_THROTTLED = ("ThrottlingException", "Throttling", "TooManyRequestsException", "ModelNotReadyException")
_NO_ACCESS = (
    *("AccessDenied", "AccessDeniedException", "UnrecognizedClientException", "InvalidClientTokenId"),
    *("InvalidSignatureException", "SignatureDoesNotMatch", "MissingAuthenticationToken", "ExpiredToken"),
    *("ExpiredTokenException", "OptInRequired", "IncompleteSignature"),
)
_TIMEOUTS = (ReadTimeoutError, ConnectTimeoutError, Urllib3TimeoutError, TimeoutError)
EXPECTED = (ClientError, BotoCoreError, BadAnswerError, HTTPError, OSError)
"""What a request may end with; all else is an error of this program."""

_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError)


def fault_of(error: Exception) -> Fault:
    """What the error of a request means."""
    if isinstance(error, ClientError):
        return _fault_of_answer(error)
    kinds: tuple[tuple[tuple[type[Exception], ...], Fault], ...] = (
        ((BadAnswerError,), Fault.WRONG_ANSWER),
        (_TIMEOUTS, Fault.TIMED_OUT),
        (_CREDENTIALS, Fault.NOT_PERMITTED),
    )
    return next((fault for types, fault in kinds if isinstance(error, types)), Fault.FAILED)


def _fault_of_answer(error: ClientError) -> Fault:
    code, status = error.response["Error"].get("Code", ""), status_of(error)
    if code in _THROTTLED or status in (429, 503):
        return Fault.THROTTLED
    if code in _NO_ACCESS or status in (401, 403):
        return Fault.NOT_PERMITTED
    if code == "ModelError" or status == 424:
        return _fault_of_model(error)
    # SageMaker has no code of its own for it: "Endpoint fraud of account 123456789012 not found."
    if "not found" in error.response["Error"].get("Message", "").lower():
        return Fault.MISSING
    return Fault.REFUSED if 400 <= status < 500 else Fault.FAILED


def _fault_of_model(error: ClientError) -> Fault:
    """424: the container answered, and with which status stands in the error."""
    original = cast("int", error.response.get("OriginalStatusCode", 500))
    if original in (408, 429):
        return Fault.TIMED_OUT if original == 408 else Fault.THROTTLED
    return Fault.REFUSED if 400 <= original < 500 else Fault.FAILED
