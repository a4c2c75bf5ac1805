"""Find the files of a data set and the models that decide them, as the command line names them."""

from contextlib import closing
from pathlib import Path

from consumer.decide import Decider, Rollout
from consumer.loading import check_unit, rollout_of
from consumer.pinned import document_of, is_directory, pin
from consumer.serving import arm_of
from consumer.settings import WorkerSettings
from consumer.trusted import TrustedModels
from consumer.wire import decider_of
from fraudstream.batch.directory import Directory
from fraudstream.batch.places import KINDS, DataFile, Place, is_data, open_place
from fraudstream.batch.run import DataSet
from models.model import Model, check_scores
from models.registry import Watch
from models.store import NotStoredError
from schemas.errors import ConfigurationError


def data_set(url: str, endpoint: str | None) -> DataSet:
    """The file ``url``, or all files below it that can be read and are not hidden.

    Raises ConfigurationError where there is nothing of that name, or no such file in it.
    """
    if "://" not in url and Path(url).is_file():
        return _one(Directory(Path(url).parent), Path(url).name, url)
    place = open_place(url, endpoint)
    if url.startswith("s3://") and url.endswith(KINDS):
        parent, _, name = url.rpartition("/")
        try:
            return _one(open_place(parent, endpoint), name, url)
        except NotStoredError:
            pass  # a directory may be called so: Spark's are
    data = [file for file in place.files() if is_data(file.name)]
    files = [file for file in data if file.name.endswith(KINDS)]
    if not files:
        raise ConfigurationError(f"--in: there is no file at or below {url} that ends in {' or '.join(KINDS)}")
    return DataSet(place, files, many=True, passed_over=len(data) - len(files))


def _one(place: Place, name: str, url: str) -> DataSet:
    if not name.endswith(KINDS):
        raise ConfigurationError(f"--in: {url} ends in neither {' nor '.join(KINDS)}")
    with place.open(name) as opened:
        return DataSet(place, [DataFile(name, opened.size)], many=False, passed_over=0)


def check_apart(source: str, out: str) -> None:
    """Raise ConfigurationError where the outputs of this run would be inputs of the next one, or are no directory."""
    if out.rstrip("/").endswith(KINDS):
        raise ConfigurationError(f"--out: {out} is called like a file: give a directory, in which each input gets one")
    if _parts(source) == _parts(out)[: len(_parts(source))]:
        raise ConfigurationError(f"--out: {out} lies in {source}: its files would be the input of the next run")


def _parts(url: str) -> tuple[str, ...]:
    return tuple(url.rstrip("/").split("/")) if "://" in url else Path(url).resolve().parts


def decider(settings: WorkerSettings, rollout: str | None, watch: Watch) -> Decider:
    """What decides under these settings: their models, or a ``rollout`` of the store by its number or ``current``.

    ``watch`` sees models that come from the store. Raises FraudstreamError where a model cannot be had or is not what
    it claims to be: no other one stands in for it.
    """
    name = pin(settings, rollout)
    with closing(TrustedModels(settings, watch)) as trusted:
        if is_directory(settings, name):
            return decider_of(settings, _of_directories(settings, trusted))
        return decider_of(settings, _of_store(settings, name, trusted))


def _of_directories(settings: WorkerSettings, trusted: TrustedModels) -> Rollout:
    paths = [path for path in (settings.model, settings.challenger) if path is not None]
    return rollout_of([_made_ready(trusted.directory(path)) for path in paths], settings)


def _of_store(settings: WorkerSettings, name: str, trusted: TrustedModels) -> Rollout:
    document = document_of(settings, name)
    check_unit(document, settings)
    if settings.challenger is not None:
        raise ConfigurationError(f"challenger: {name} comes from the store, where a rollout names the challengers")
    models = {version: _made_ready(trusted.version(version)) for version in document.models}
    arms = (
        arm_of(models[variant.model], document.split, index, document.policy)
        for index, variant in enumerate(document.variants)
    )
    return Rollout(document.split, tuple(arms))


def _made_ready(model: Model) -> Model:
    """XGBoost makes itself ready at its first prediction, where threads must not meet."""
    check_scores(model)
    return model
