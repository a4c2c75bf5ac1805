"""Decide what a failure means to the person or the process that sees it.

FraudstreamError          one sentence on standard error, exit code 1
├── ConfigurationError    a setting, topic, schema or model is missing or wrong: exit code 78
│   └── BadModelError     a model is not what it claims to be: the one in use goes on scoring
├── NotPermittedError     the broker, registry or store refuses us: exit code 77
└── InvalidRecordError    one record cannot be used: it goes to the dead letters and the stream goes on

Those of the store of models stand in models/store.py.
"""


class FraudstreamError(Exception):
    """Catch this at the edge of a program: its text is a sentence for a person."""

    exit_code = 1


class ConfigurationError(FraudstreamError):
    """Catch this when a different setting would help. Exit code 78 (``EX_CONFIG`` of sysexits.h)."""

    exit_code = 78


class BadModelError(ConfigurationError):
    """Catch this around a model that is tried: it was refused, and nothing of it was kept."""


class NotPermittedError(FraudstreamError):
    """Catch this when a missing right is to be named. Exit code 77 (``EX_NOPERM`` of sysexits.h)."""

    exit_code = 77


class InvalidRecordError(FraudstreamError):
    """Catch this around one record: it is the record that is wrong, not the program."""
