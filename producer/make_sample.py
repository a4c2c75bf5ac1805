"""Draw the bundled sample from the public card data set: every fraud, and 20,000 of the others at random.

python -m producer.make_sample creditcard.parquet
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from producer import sample_path
from schemas.dataset import LEGITIMATE_KEPT

LEGITIMATE = 20_000
SEED = 2015
NOTES = {
    "fraudstream.source": "Credit card transactions of European cardholders, September 2013; Worldline and the "
    "Machine Learning Group of Université Libre de Bruxelles",
    "fraudstream.licence": "Open Database License (ODbL) 1.0; contents under the Database Contents License (DbCL) 1.0",
    "fraudstream.citation": "Andrea Dal Pozzolo, Olivier Caelen, Reid A. Johnson and Gianluca Bontempi. Calibrating "
    "Probability with Undersampling for Unbalanced Classification. IEEE Symposium Series on Computational "
    "Intelligence (CIDM), 2015.",
    "fraudstream.change": "All frauds and a uniform random sample of the other transactions; values unchanged.",
}


def thin(table: pa.Table, legitimate: int, seed: int) -> pa.Table:
    """The frauds of ``table`` and ``legitimate`` others drawn at random, in the order they stood in, values unchanged.

    The metadata notes the share that was kept, and where the data comes from.
    """
    is_fraud = table["Class"].to_numpy() == 1
    others = np.flatnonzero(~is_fraud)
    drawn = np.random.default_rng(seed).choice(others, legitimate, replace=False)
    rows = np.sort(np.concatenate([np.flatnonzero(is_fraud), drawn]))
    return table.take(rows).replace_schema_metadata({LEGITIMATE_KEPT: f"{legitimate}/{len(others)}", **NOTES})


def write(table: pa.Table, path: Path) -> None:
    """Write small: the values are noise to a dictionary, but their exponents are alike, byte plane by byte plane."""
    planes = {field.name: "BYTE_STREAM_SPLIT" for field in table.schema if pa.types.is_floating(field.type)}
    pq.write_table(
        table, path, compression="zstd", compression_level=19, use_dictionary=["Class"], column_encoding=planes
    )


def main() -> None:
    """Make the sample from the file named on the command line."""
    write(thin(pq.read_table(sys.argv[1]), LEGITIMATE, SEED), sample_path())


if __name__ == "__main__":
    main()
