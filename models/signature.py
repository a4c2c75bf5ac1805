"""Decide whether somebody who holds a trusted key has signed a manifest, and with it every file that it names."""

from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from models.manifest import MANIFEST_FILE, SIGNATURE_FILE
from schemas.errors import BadModelError, ConfigurationError

SIGNATURE_BYTES = 64


def verify(manifest: bytes, signature: bytes | None, keys: Iterable[Ed25519PublicKey], source: str) -> None:
    """Raise BadModelError unless one of ``keys`` made the detached ``signature`` of the manifest's bytes."""
    if signature is None:
        raise BadModelError(f"{source} is not signed, and model_public_keys asks for a signature ({SIGNATURE_FILE})")
    for key in keys:
        try:
            key.verify(signature, manifest)
        except InvalidSignature:
            continue
        return
    raise BadModelError(f"{source}: {SIGNATURE_FILE} was not made for this manifest by any of model_public_keys")


def sign_directory(path: Path, key: Ed25519PrivateKey) -> Path:
    """Sign the manifest in the directory ``path``: the file with the signature, of ``SIGNATURE_BYTES`` raw bytes.

    Raises ConfigurationError where there is no manifest, or the signature cannot be written.
    """
    target = path / SIGNATURE_FILE
    try:
        manifest = (path / MANIFEST_FILE).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path / MANIFEST_FILE} cannot be read: {error.strerror}") from error
    try:
        target.write_bytes(key.sign(manifest))
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written: {error.strerror}") from error
    return target


def public_keys(paths: Iterable[Path]) -> tuple[Ed25519PublicKey, ...]:
    """The keys in the PEM files. Raises ConfigurationError naming the one that holds none."""
    return tuple(_public_key(path) for path in paths)


def _public_key(path: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(_content(path, "model_public_keys"))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"model_public_keys: {path} holds no public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigurationError(f"model_public_keys: {path} holds a key of another kind than Ed25519")
    return key


def private_key(path: Path) -> Ed25519PrivateKey:
    """The key in the PEM file. Raises ConfigurationError where it holds none, or one behind a password."""
    try:
        key = load_pem_private_key(_content(path, "key"), password=None)
    except TypeError as error:
        raise ConfigurationError(f"key: {path} is protected by a password; give a key without one") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"key: {path} holds no private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"key: {path} holds a key of another kind than Ed25519")
    return key


def _content(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path} cannot be read: {error.strerror}") from error
