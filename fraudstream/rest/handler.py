"""Answer ``POST /predict`` behind API Gateway: a function for AWS Lambda, on payload formats 1.0 and 2.0.

What is loaded at the first call stays for those that follow. Between two calls the process is frozen, so a new rollout
is seen by the first call that comes a poll after it.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

import base64
import binascii
import uuid
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import msgspec

from fraudstream import logs
from fraudstream.rest.predict import NoModelError, Predictor
from fraudstream.rest.request import BadRequestError
from fraudstream.settings import read_settings

PATH = "/predict"
COLD_START_SECONDS = 8.0
"""API Gateway gives up after 29 s, and Lambda's initialisation after 10."""


@cache
def predictor() -> Predictor:
    """What decides, by the settings in the environment; made once a process."""
    settings = read_settings(None, {})
    logs.configure(settings.log_format, settings.log_level)
    made = Predictor(settings)
    made.wait(COLD_START_SECONDS)
    return made


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Answer one request; a field that is wrong is named, and nothing that was sent is repeated or logged."""
    method, path = _asked(event)
    if path != PATH and not path.endswith(PATH):  # a stage or a base path may stand before it
        return _answer(404, {"error": f"there is {PATH} and nothing else"})
    if method != "POST":
        return _answer(405, {"error": f"{PATH} takes POST"}, {"allow": "POST"})
    request_id = str(getattr(context, "aws_request_id", None) or uuid.uuid4())
    try:
        return _answer(200, predictor().predict(_body(event), request_id))
    except BadRequestError as error:
        where = {} if error.field is None else {"field": error.field}
        return _answer(400, {"error": str(error), **where})
    except NoModelError as error:
        return _answer(503, {"error": str(error)}, {"retry-after": "5"})


def _asked(event: Mapping[str, Any]) -> tuple[str, str]:
    if event.get("version") == "2.0":
        http = event["requestContext"]["http"]
        return http["method"], event["rawPath"]
    return event["httpMethod"], event["path"]


def _body(event: Mapping[str, Any]) -> bytes:
    body = cast("str", event.get("body") or "")
    if not event.get("isBase64Encoded"):
        return body.encode(errors="surrogatepass")  # half a surrogate is no UTF-8, and then no JSON
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequestError("the body is not base64") from None


def _answer(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json", "cache-control": "no-store", **(headers or {})},
        "body": msgspec.json.encode(body).decode(),
        "isBase64Encoded": False,
    }
