"""Read the settings once, at the edge: flags over environment over file over defaults."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from consumer.settings import WorkerSettings
from schemas.errors import ConfigurationError

PREFIX = "FRAUDSTREAM_"
DEFAULT_FILE = Path("fraudstream.toml")


class _Sources(WorkerSettings, BaseSettings):
    """The worker's settings, filled from flags, then the environment, then the file."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=PREFIX, env_nested_delimiter="__", protected_namespaces=()
    )
    file_values: ClassVar[dict[str, Any]] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - we have no .env file
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - nor a folder of secrets
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags first, then the environment, then the file."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, cls.file_values)


def read_settings(file: Path | None, flags: Mapping[str, Any]) -> WorkerSettings:
    """The settings in force. ``flags`` that are None were not given.

    Raises ConfigurationError naming the first setting that is wrong, and never its value.
    """
    sources = type("_Sources", (_Sources,), {"file_values": _read_file(file)})
    given = {name: value for name, value in flags.items() if value not in (None, {}, [])}
    _refuse_unknown_variables()
    try:
        return WorkerSettings.model_validate(sources(**given).model_dump())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "settings"
        raise ConfigurationError(f"{name}: {first['msg'].removeprefix('Value error, ')}") from None
    except ValueError as error:  # an environment value that should be JSON and is not
        raise ConfigurationError(f"environment: {error}") from None


def _read_file(file: Path | None) -> dict[str, Any]:
    path = file or DEFAULT_FILE
    if not path.is_file():
        if file is not None:
            raise ConfigurationError(f"--config: {path} is not a file")
        return {}
    try:
        return tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from None


def _refuse_unknown_variables() -> None:
    """A misspelt variable is a setting that silently does nothing."""
    for variable in os.environ:
        if variable.startswith(PREFIX) and not variable.startswith(f"{PREFIX}TEST_"):
            name = variable.removeprefix(PREFIX).lower().partition("__")[0]
            if name not in WorkerSettings.model_fields and name != "config":
                raise ConfigurationError(f"environment: {variable} is no setting; `fraudstream config` lists them")
