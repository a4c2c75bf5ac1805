"""Offer every setting of the worker as an option of the command line, with the help that the setting carries."""

import inspect
from collections.abc import Callable, Collection
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

from consumer.settings import WorkerSettings
from fraudstream.settings import read_settings
from schemas.errors import ConfigurationError

CONFIG_OPTION = typer.Option(
    "--config", "-c", help="Settings file; ./fraudstream.toml if it is there.", envvar="FRAUDSTREAM_CONFIG"
)


MONITOR = tuple(name for name in WorkerSettings.model_fields if name.startswith(("drift_", "retrain_")))
"""Settings that mean nothing to a worker."""

WORKER = tuple(name for name in WorkerSettings.model_fields if name not in MONITOR)


def with_settings(command: Callable[..., Any], names: Collection[str] = WORKER) -> Callable[..., Any]:
    """A command that takes WorkerSettings becomes one that takes an option for each setting in ``names``."""
    own = [p for p in inspect.signature(command).parameters.values() if p.name != "settings"]

    def run(*, config: Path | None = None, **options: Any) -> Any:
        mine = {parameter.name: options.pop(parameter.name) for parameter in own}
        flags = {name: _parse(name, value) for name, value in options.items()}
        return command(settings=read_settings(config, flags), **mine)

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [parameter.replace(kind=keyword) for parameter in own]
    parameters += [inspect.Parameter("config", keyword, default=None, annotation=Annotated[Path | None, CONFIG_OPTION])]
    parameters += [inspect.Parameter(name, keyword, default=None, annotation=_annotation(name)) for name in names]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


def _annotation(name: str) -> Any:
    field = WorkerSettings.model_fields[name]
    kind = _scalar(field.annotation)
    text = field.description or ""
    if get_origin(kind) in (dict, list):
        metavar = "KEY=VALUE" if get_origin(kind) is dict else "NAME"
        return Annotated[list[str] | None, typer.Option(help=text, metavar=metavar, show_default=False)]
    default = field.get_default(call_default_factory=True, validated_data={})
    shown = default.value if isinstance(default, Enum) else default
    help_text = f"{text} [default: {shown}]" if shown is not None else text
    return Annotated[kind | None, typer.Option(f"--{name.replace('_', '-')}", help=help_text, show_default=False)]


def _scalar(annotation: Any) -> Any:
    """The type behind ``T | None``."""
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 and get_origin(annotation) not in (dict, list) else annotation


def _parse(name: str, value: Any) -> Any:
    """``key=value`` words become a mapping where the setting is one."""
    if get_origin(WorkerSettings.model_fields[name].annotation) is not dict or value is None:
        return value
    return pairs(f"--{name.replace('_', '-')}", value)


def pairs(option: str, words: list[str] | None) -> dict[str, str]:
    """``key=value`` words as a mapping. Raises ConfigurationError for any other word, naming the option alone.

    It may be a password that has not been written as it should.
    """
    split = [word.partition("=") for word in words or ()]
    if not all(equals for _, equals, _ in split):
        raise ConfigurationError(f"{option} takes key=value, and was given something else")
    return {key: value for key, _, value in split}
