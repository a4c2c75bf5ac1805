"""``fraudstream models sign``: vouch for a model with a private key."""

from pathlib import Path
from typing import Annotated

import typer


def sign(
    directory: Annotated[Path, typer.Argument(help="Directory of the model.")],
    key: Annotated[Path, typer.Option(help="Ed25519 private key (PEM, without a password).")],
) -> None:
    """Sign the manifest of a model, and with it every file that the manifest names.

    Writes manifest.sig beside it. Workers with the public key in model_public_keys take no other model.

    fraudstream models sign model --key private.pem
    """
    # The library that signs takes a while to load; `fraudstream --help` should not wait for it.
    from models.artifact import check_files, read_directory  # noqa: PLC0415
    from models.signature import private_key, sign_directory  # noqa: PLC0415

    check_files(read_directory(directory), str(directory))
    typer.echo(f"Signed: {sign_directory(directory, private_key(key))}")
