"""Score a data set from S3 to S3 with a model of the registry, as a batch transform job whose results bear the ids."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deploy.sagemaker.apply import Say
from deploy.sagemaker.aws import Account, call
from schemas.errors import ConfigurationError, FraudstreamError

POLL_SECONDS = 10.0
_ENDED = ("Completed", "Failed", "Stopped")


@dataclass(frozen=True, slots=True)
class Job:
    """CSV without a header under ``source``, the id first and then the features in the order of the model."""

    name: str
    model: str
    source: str
    target: str
    instance_type: str
    instances: int = 1


def request_of(job: Job) -> dict[str, Any]:
    """The request: the id does not reach the model, and stands beside the score in the result (``id,score``).

    https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform-data-processing.html
    """
    for url in (job.source, job.target):
        if not url.startswith("s3://"):
            raise ConfigurationError(f"{url} is not in S3: s3://bucket/prefix")
    return {
        "TransformJobName": job.name,
        "ModelName": job.model,
        "BatchStrategy": "MultiRecord",
        "MaxPayloadInMB": 6,
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": job.source}},
            "ContentType": "text/csv",
            "SplitType": "Line",
        },
        "TransformOutput": {"S3OutputPath": job.target, "Accept": "text/csv", "AssembleWith": "Line"},
        "TransformResources": {"InstanceType": job.instance_type, "InstanceCount": job.instances},
        "DataProcessing": {"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"},
    }


def run(account: Account, job: Job, say: Say, pause: Callable[[float], None] = time.sleep) -> None:
    """Start the job and wait for its end. Raises FraudstreamError with the reason where it did not complete."""
    call(account.sagemaker, "create_transform_job", **request_of(job))
    said = ""
    while True:
        found = call(account.sagemaker, "describe_transform_job", TransformJobName=job.name)
        status = found["TransformJobStatus"]
        if status != said:
            said = status
            say(f"{job.name} is {status}")
        if status in _ENDED:
            break
        pause(POLL_SECONDS)
    if status != "Completed":
        raise FraudstreamError(f"{job.name} is {status}: {found.get('FailureReason', 'no reason is given')}")
