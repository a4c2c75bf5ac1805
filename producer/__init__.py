"""A data set as a stream of card transactions."""

from importlib.resources import files
from pathlib import Path


def sample_path() -> Path:
    """The bundled sample of real card transactions: every fraud and 20,000 others, in time order."""
    return Path(str(files(__name__) / "data" / "creditcard-sample.parquet"))
