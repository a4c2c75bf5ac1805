"""Record a training in MLflow, and take a model from there: for teams that keep their models in it."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from models.artifact import read_directory
from models.manifest import Manifest
from models.metrics import Evaluation
from models.store import StoreUnavailableError
from schemas.errors import ConfigurationError, FraudstreamError, NotPermittedError

_FOLDER = "model"
_ADDRESS = re.compile(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<number>\d+))")


class Tracking:
    """An MLflow server, or whatever else MLflow takes as its tracking address.

    Raises ConfigurationError where the optional package is not installed; its methods raise NotPermittedError,
    ConfigurationError and StoreUnavailableError as a store does.
    """

    def __init__(self, address: str) -> None:
        # A fraud system reports to nobody, our standard output is ours, and a server that is away is not waited for
        # over seven retries.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        try:
            from mlflow import MlflowClient  # noqa: PLC0415 - optional, and slow to load
        except ImportError as error:
            raise ConfigurationError("mlflow is set, but not installed: pip install 'fraudstream[mlflow]'") from error
        self._where = f"MLflow at {urlsplit(address).hostname or address}"
        self._address = address
        with self._errors():
            self._client = MlflowClient(address, address)

    def record(self, manifest: Manifest, directory: Path) -> str:
        """Record a training whose artifact is in ``directory``, as a run and as a version of the model of its name.

        The number of that version, as MLflow counts.
        """
        from mlflow.entities import Metric, Param  # noqa: PLC0415 - optional, and slow to load

        with self._errors():
            run = self._client.create_run(self._experiment(manifest.name), run_name=_title(manifest))
            metrics = [Metric(name, value, run.info.start_time, 0) for name, value in _metrics(manifest).items()]
            params = [Param(name, str(value)) for name, value in _parameters(manifest).items()]
            self._client.log_batch(run.info.run_id, metrics, params)
            self._client.log_artifacts(run.info.run_id, str(directory), _FOLDER)
            self._client.set_terminated(run.info.run_id)
            return self._register(manifest, run)

    def fetch(self, model: str) -> dict[str, bytes]:
        """The files of ``models:/NAME@ALIAS`` or ``models:/NAME/3``, by name."""
        found = _ADDRESS.fullmatch(model)
        if not found:
            raise ConfigurationError(f"{model!r} is neither models:/NAME@ALIAS nor models:/NAME/3")
        from mlflow.artifacts import download_artifacts  # noqa: PLC0415 - optional, and slow to load

        with self._errors(model), tempfile.TemporaryDirectory() as scratch:
            name, alias = found["name"], found["alias"]
            version = (
                self._client.get_model_version_by_alias(name, alias)
                if alias
                else self._client.get_model_version(name, found["number"])
            )
            source = self._client.get_model_version_download_uri(name, version.version)
            path = download_artifacts(artifact_uri=source, dst_path=scratch, tracking_uri=self._address)
            return read_directory(Path(path))

    def _experiment(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        return str(experiment.experiment_id if experiment else self._client.create_experiment(name))

    def _register(self, manifest: Manifest, run: Any) -> str:
        if not self._client.search_registered_models(f"name = '{manifest.name}'"):
            self._client.create_registered_model(manifest.name)
        source, tags = f"{run.info.artifact_uri}/{_FOLDER}", {"fraudstream.version": manifest.version}
        made = self._client.create_model_version(manifest.name, source, run.info.run_id, tags, await_creation_for=30)
        return str(made.version)

    @contextlib.contextmanager
    def _errors(self, what: str = "") -> Iterator[None]:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - optional, and slow to load

        try:
            yield
        except MlflowException as error:
            raise self._refusal(error, what) from error

    def _refusal(self, error: Any, what: str) -> FraudstreamError:
        # The text of the error can hold the address, and an address can hold a password.
        if error.error_code in ("PERMISSION_DENIED", "UNAUTHENTICATED"):
            return NotPermittedError(f"{self._where} does not permit this to whom it takes us for")
        if what and error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return ConfigurationError(f"{self._where} has no {what}")
        return StoreUnavailableError(f"{self._where} does not do what it is asked ({error.error_code})")


def _title(manifest: Manifest) -> str:
    return f"{manifest.name}@{manifest.version}"


def _parameters(manifest: Manifest) -> dict[str, object]:
    """What the model was made from: settings, libraries and the fingerprint of the data."""
    return {
        **manifest.settings,
        **{f"library.{name}": version for name, version in manifest.libraries.items()},
        **{f"data.{name}": value for name, value in asdict(manifest.training_data).items()},
        "features": len(manifest.features),
        "policy.review_at": manifest.policy.review_at,
        "policy.decline_at": manifest.policy.decline_at,
    }


def _metrics(manifest: Manifest) -> dict[str, float]:
    """The figures of the model, and those of the baseline under ``baseline.``."""
    baseline = {f"baseline.{name}": value for name, value in _numbers(manifest.metrics.baseline).items()}
    return _numbers(manifest.metrics.model) | baseline


def _numbers(of: Evaluation) -> dict[str, float]:
    flat = {name: value for name, value in asdict(of).items() if name != "calibration"}
    for part in ("review", "decline", "cost"):
        flat |= {f"{part}.{name}": value for name, value in flat.pop(part).items()}
    return {name: float(value) for name, value in flat.items() if value is not None}
