"""Say who we are to Amazon MSK: a token signed with our AWS credentials, made anew before it expires."""

from collections.abc import Callable
from typing import Any

import structlog

from schemas.errors import ConfigurationError

log = structlog.get_logger()

Token = tuple[str, float]
"""What a broker is shown, and when it expires (s since 1970)."""


def iam_properties(region: str) -> dict[str, Any]:
    """The librdkafka properties of a client that MSK in this AWS region lets in by IAM.

    librdkafka calls for another token when four fifths of the life of one (15 minutes) are over. Raises
    ConfigurationError without the extra ``msk``, and where boto3 finds no credentials: a client would try for ever.
    """
    make = token_maker(region)
    make()
    return {"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", "oauth_cb": lambda _config: _told(make)}


def token_maker(region: str) -> Callable[[], Token]:
    """A function that signs a token for the MSK clusters of the region. It and this raise ConfigurationError."""
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise ConfigurationError("msk_iam_region needs the extra msk: pip install 'fraudstream[msk]'") from None
    # A third of a second, for those who need it.
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415
    from botocore.session import Session  # noqa: PLC0415

    def make() -> Token:
        try:
            # The signer would fail with an AttributeError.
            if Session().get_credentials() is None:
                raise ConfigurationError("msk_iam_region: boto3 finds no AWS credentials to sign a token with")
            token, expires_ms = MSKAuthTokenProvider.generate_auth_token(region)
        except (BotoCoreError, ValueError) as error:
            raise ConfigurationError(f"msk_iam_region: no token can be signed: {error}") from None
        return token, expires_ms / 1000

    return make


def _told(make: Callable[[], Token]) -> Token:
    """A token, or a line in the log: librdkafka asks again after ten seconds, and says nothing by itself."""
    try:
        return make()
    except ConfigurationError as error:
        log.warning("unavailable", reason=str(error))
        raise
