"""Find the files of a data set and the models that decide them, as the command line names them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from consumer.decide import Reasons, Rollout
from consumer.loading import check_unit, rollout_of
from consumer.pinned import document_of, is_directory, pin, registry_of
from consumer.serving import arm_of
from consumer.settings import WorkerSettings
from consumer.wire import bounds_of, roles_of
from fraudstream.batch.directory import Directory
from fraudstream.batch.finished import Decider
from fraudstream.batch.places import KINDS, DataFile, Place, is_data, open_place
from fraudstream.batch.run import DataSet
from models.artifact import from_files, read_directory
from models.model import Model, check_scores
from models.registry import Watch
from models.sandbox import Trials
from models.signature import public_keys
from models.store import NotStoredError
from schemas.decision import Outcome
from schemas.errors import ConfigurationError

Files = Mapping[str, bytes]


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
    read = _directories if is_directory(settings, name) else partial(_stored, name=name, watch=watch)
    with closing(Trials()) as trials:
        found = read(settings, partial(_model, keys=public_keys(settings.model_public_keys), sandbox=trials))
    reasons = Reasons(settings.reason_codes, tuple(Outcome[outcome.upper()] for outcome in settings.reasons_for))
    return Decider(found, roles_of(settings), bounds_of(settings), reasons)


def _directories(settings: WorkerSettings, load: Callable[[Files, str], Model]) -> Rollout:
    paths = [path for path in (settings.model, settings.challenger) if path is not None]
    return rollout_of([load(read_directory(path), str(path)) for path in paths], settings)


def _stored(settings: WorkerSettings, load: Callable[[Files, str], Model], *, name: str, watch: Watch) -> Rollout:
    document = document_of(settings, name)
    check_unit(document, settings)
    if settings.challenger is not None:
        raise ConfigurationError(f"challenger: {name} comes from the store, where a rollout names the challengers")
    registry = registry_of(settings)
    models = {version: load(registry.fetch(version, watch), str(version)) for version in document.models}
    arms = (
        arm_of(models[variant.model], document.split, index, document.policy)
        for index, variant in enumerate(document.variants)
    )
    return Rollout(document.split, tuple(arms))


def _model(files: Files, source: str, keys: Sequence[Ed25519PublicKey], sandbox: Trials) -> Model:
    model = from_files(files, source, keys=keys, sandbox=sandbox)
    # XGBoost makes itself ready at its first prediction, where threads must not meet.
    check_scores(model)
    return model
