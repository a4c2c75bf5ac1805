"""Pack a model as SageMaker's XGBoost container unpacks it, and keep it where SageMaker finds it."""

import gzip
import io
import tarfile
from dataclasses import dataclass
from hashlib import sha256

from models.container import container_model
from models.model import Model
from models.registry import Version
from models.store import ConflictError, ObjectStore
from schemas.errors import ConfigurationError

PREFIX = "sagemaker"
MODEL_NAME = "xgboost-model"
"""What the container's documentation calls the file inside model.tar.gz."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A packed model: ``key`` in the store, which is named by the digest (hex) of the content."""

    version: Version
    key: str
    digest: str
    content: bytes

    def url(self, store: ObjectStore) -> str:
        """Where SageMaker reads it. Raises ConfigurationError unless the store is one that it can read."""
        if not store.url.startswith("s3://"):
            raise ConfigurationError(f"store: SageMaker reads models from S3, and not from {store.url}")
        return f"{store.url.rstrip('/')}/{self.key}"


def pack(model: Model) -> Packed:
    """The model as ``model.tar.gz``: the same model always gives the same bytes.

    Raises ConfigurationError where one container cannot score as the model does.
    """
    content = container_model(model)
    entry = tarfile.TarInfo(MODEL_NAME)
    entry.size, entry.mode = len(content), 0o644
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(entry, io.BytesIO(content))
    packed = gzip.compress(tar.getvalue(), mtime=0)
    digest = sha256(packed).hexdigest()
    version = Version(model.name, model.version)
    return Packed(version, f"{PREFIX}/{version.name}/{version.version}/{digest[:16]}/model.tar.gz", digest, packed)


def upload(packed: Packed, store: ObjectStore) -> bool:
    """Have it in the store; whether it was not there. Its name is its content, so what is there is the same."""
    try:
        store.create(packed.key, packed.content)
    except ConflictError:
        return False
    return True
