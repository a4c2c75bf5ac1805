"""Call the control plane of AWS, and say in a sentence which right is missing or what was refused."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)

from schemas.errors import ConfigurationError, FraudstreamError, NotPermittedError

_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnrecognizedClientException")
_ABSENT = ("ResourceNotFound", "ResourceNotFoundException", "ObjectNotFoundException")


class AbsentError(ConfigurationError):
    """Catch this where what is asked for need not be there."""


@dataclass(frozen=True, slots=True)
class Account:
    """The clients of one region; ``url`` is another address of all of them, for what stands in for AWS."""

    sagemaker: Any
    scaling: Any
    alarms: Any

    @classmethod
    def open(cls, region: str | None, url: str | None = None) -> "Account":
        """Raises ConfigurationError where no region is known."""
        config = Config(retries={"mode": "standard", "max_attempts": 8}, connect_timeout=5, read_timeout=30)
        try:
            clients = [
                boto3.client(service, region_name=region, endpoint_url=url, config=config)
                for service in ("sagemaker", "application-autoscaling", "cloudwatch")
            ]
        except BotoCoreError as error:
            raise ConfigurationError(f"AWS cannot be used: {str(error).rstrip('.')}") from error
        return cls(*clients)


def call(client: Any, operation: str, **request: Any) -> dict[str, Any]:
    """The answer to an operation, by its name in Python.

    Raises NotPermittedError naming the action, AbsentError where it is not there, ConfigurationError for what was
    refused, FraudstreamError where AWS does not answer.
    """
    service = client.meta.service_model.signing_name
    action = f"{service}:{''.join(part.capitalize() for part in operation.split('_'))}"
    try:
        answer: dict[str, Any] = getattr(client, operation)(**request)
    except ClientError as error:
        raise _refusal(error, action) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise NotPermittedError(f"{action}: {str(error).rstrip('.')}") from error
    except ParamValidationError as error:
        raise ConfigurationError(f"{action}: {' '.join(str(error).split())}") from error
    except BotoCoreError as error:
        raise FraudstreamError(f"{action}: AWS does not answer ({type(error).__name__})") from error
    return answer


def _refusal(error: ClientError, action: str) -> FraudstreamError:
    code, text = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    if code in _DENIED:
        return NotPermittedError(f"{action} is not permitted ({code})")
    if code in _ABSENT or "Could not find" in text or "not found" in text.lower():
        return AbsentError(f"{action}: {text.rstrip('.')}")
    return ConfigurationError(f"{action} was refused: {text.rstrip('.') or code}")


def pages(client: Any, operation: str, key: str, **request: Any) -> Iterator[dict[str, Any]]:
    """Every item of a listing under ``key``, over all of its pages."""
    while True:
        answer = call(client, operation, **request)
        yield from answer[key]
        if not answer.get("NextToken"):
            return
        request["NextToken"] = answer["NextToken"]
