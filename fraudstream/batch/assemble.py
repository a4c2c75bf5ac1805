"""Find the files of a data set and the models that decide them, as the command line names them."""

from pathlib import Path

from consumer.decide import Bounds, Reasons
from consumer.settings import WorkerSettings
from consumer.wire import roles_of
from consumer.worker import rollout_of
from fraudstream.batch.directory import Directory
from fraudstream.batch.finished import Decider
from fraudstream.batch.places import KINDS, DataFile, Place, is_data, open_place
from fraudstream.batch.run import DataSet
from models.artifact import from_files, load
from models.model import Model, check_scores
from models.registry import Registry, Version, Watch
from models.sandbox import Sandbox
from models.signature import public_keys
from models.store import NotStoredError, open_store
from schemas.decision import Outcome
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


def decider(settings: WorkerSettings, watch: Watch) -> Decider:
    """What decides under these settings; ``watch`` sees models that come from the store.

    Raises ConfigurationError where a model is not there or not what it claims to be.
    """
    if settings.model is None:
        raise ConfigurationError("model is not set: give the directory of a model, or NAME@VERSION of one in the store")
    names = [str(name) for name in (settings.model, settings.challenger) if name is not None]
    with Sandbox() as sandbox:
        models = [_model(name, settings, sandbox, watch) for name in names]
    for model in models:
        # XGBoost makes itself ready at its first prediction, where threads must not meet.
        check_scores(model)
    return Decider(
        rollout_of(models, settings),
        roles_of(settings),
        Bounds(settings.earliest_event_time, int(settings.event_time_lead_seconds * 1000)),
        Reasons(settings.reason_codes, tuple(Outcome[name.upper()] for name in settings.reasons_for)),
    )


def _model(name: str, settings: WorkerSettings, sandbox: Sandbox, watch: Watch) -> Model:
    keys = public_keys(settings.model_public_keys)
    if "@" not in name or Path(name).is_dir():
        return load(Path(name), keys=keys, sandbox=sandbox)
    if settings.store is None:
        raise ConfigurationError(f"store is not set: say where {name} is kept")
    files = Registry(open_store(settings.store, settings.store_endpoint)).fetch(Version.parse(name), watch)
    return from_files(files, name, keys=keys, sandbox=sandbox)
