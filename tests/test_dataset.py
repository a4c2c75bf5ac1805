"""What a card data set is taken for, and what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from producer import make_sample, sample_path
from schemas.dataset import read_dataset, read_rows
from schemas.errors import ConfigurationError


@pytest.fixture
def public():
    """A few rows with the columns of the public data set."""
    return pd.DataFrame(
        {"Time": [0.0, 2.0, 1.0], "V1": [0.1, np.nan, 0.3], "Amount": [10.0, 20.0, 30.0], "Class": [0, 1, 0]}
    )


def test_the_public_columns_take_their_canonical_names_in_time_order(public, tmp_path):
    public.to_parquet(tmp_path / "public.parquet")

    dataset = read_dataset(tmp_path / "public.parquet")

    assert dataset.features == ("V1", "amount")
    assert dataset.frame["time"].tolist() == [0.0, 1.0, 2.0]
    assert dataset.frame["amount"].tolist() == [10.0, 30.0, 20.0]
    assert dataset.frame["is_fraud"].tolist() == [False, False, True]
    assert dataset.legitimate_kept == 1.0


def test_a_csv_file_reads_like_the_same_parquet_file(public, tmp_path):
    public.to_parquet(tmp_path / "public.parquet")
    public.to_csv(tmp_path / "public.csv", index=False)

    a, b = read_dataset(tmp_path / "public.parquet"), read_dataset(tmp_path / "public.csv")

    pd.testing.assert_frame_equal(a.frame, b.frame)


def test_other_columns_are_named_by_options(tmp_path):
    frame = pd.DataFrame(
        {
            "when": pd.to_datetime(["2026-03-01T00:00:01Z", "2026-03-01T00:00:00Z"]),
            "eur": [5, 7],
            "bad": [True, False],
            "age": [30, 40],
            "merchant": ["a", "b"],
        }
    )
    frame.to_parquet(tmp_path / "own.parquet")

    dataset = read_dataset(tmp_path / "own.parquet", label="bad", time="when", amount="eur", features=["age", "eur"])

    assert dataset.features == ("age", "amount")
    assert dataset.frame["time"].tolist() == [1772323200.0, 1772323201.0]
    assert dataset.frame["age"].tolist() == [40.0, 30.0]
    assert dataset.frame["merchant"].tolist() == ["b", "a"]


def test_the_file_says_how_it_was_thinned_and_an_option_stands_above_it(public, tmp_path):
    table = pa.Table.from_pandas(public).replace_schema_metadata({"fraudstream.legitimate_kept": "20000/284315"})
    pq.write_table(table, tmp_path / "thin.parquet")

    assert read_dataset(tmp_path / "thin.parquet").legitimate_kept == 20000 / 284315
    assert read_dataset(tmp_path / "thin.parquet", legitimate_kept=0.5).legitimate_kept == 0.5


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"Class": [0, 1, 2]}, "neither 0 nor 1"),
        ({"Time": [0.0, np.nan, 1.0]}, "without a time"),
        ({"Time": ["soon", "now", "later"]}, "neither a number of seconds nor an ISO 8601 timestamp"),
        ({"Amount": [1.0, np.nan, 2.0]}, "'Amount' has a row without an amount"),
        ({"V1": [1.0, np.inf, 2.0]}, "'V1' has an infinite value"),
    ],
)
def test_wrong_values_are_refused_by_the_name_of_their_column(public, tmp_path, change, complaint):
    public.assign(**change).to_parquet(tmp_path / "wrong.parquet")

    with pytest.raises(ConfigurationError, match=complaint):
        read_dataset(tmp_path / "wrong.parquet")


def test_a_missing_column_is_named(public, tmp_path):
    public.to_parquet(tmp_path / "labelled.parquet")
    public.drop(columns="Class").to_parquet(tmp_path / "unlabelled.parquet")

    with pytest.raises(ConfigurationError, match="no column 'is_fraud' or 'Class'"):
        read_dataset(tmp_path / "unlabelled.parquet")
    with pytest.raises(ConfigurationError, match="no column 'V2'"):
        read_dataset(tmp_path / "labelled.parquet", features=["V2"])


def test_two_columns_for_one_role_are_refused(public, tmp_path):
    public.assign(time=0.0).to_parquet(tmp_path / "twice.parquet")

    with pytest.raises(ConfigurationError, match="two columns for 'time'"):
        read_dataset(tmp_path / "twice.parquet", time="Time")


def test_a_column_of_words_is_no_feature(public, tmp_path):
    public.assign(shop=["a", "b", "c"]).to_parquet(tmp_path / "words.parquet")

    with pytest.raises(ConfigurationError, match="'shop' is not a column of numbers"):
        read_dataset(tmp_path / "words.parquet", features=["shop"])


def test_a_missing_or_half_written_file_is_refused(public, tmp_path):
    public.to_parquet(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "half.parquet").write_bytes(whole[: len(whole) // 2])
    text = public.to_csv(index=False)
    (tmp_path / "half.csv").write_text(text[: text.rindex(",")])
    (tmp_path / "empty.csv").touch()

    with pytest.raises(ConfigurationError, match="does not exist"):
        read_dataset(tmp_path / "absent.parquet")
    with pytest.raises(ConfigurationError, match="half written"):
        read_dataset(tmp_path / "half.parquet")
    with pytest.raises(ConfigurationError, match="half written"):
        read_dataset(tmp_path / "half.csv")
    with pytest.raises(ConfigurationError, match="half written"):
        read_dataset(tmp_path / "empty.csv")


@pytest.mark.parametrize("share", ["0", "1.5", "most", "1/0"])
def test_a_share_that_is_none_is_refused(public, tmp_path, share):
    table = pa.Table.from_pandas(public).replace_schema_metadata({"fraudstream.legitimate_kept": share})
    pq.write_table(table, tmp_path / "odd.parquet")

    with pytest.raises(ConfigurationError, match=r"share|fraction"):
        read_dataset(tmp_path / "odd.parquet")


def test_the_bundled_sample_is_small_whole_and_cited():
    dataset = read_dataset(sample_path())
    notes = pq.read_schema(sample_path()).metadata

    assert len(dataset.frame) == 20_492
    assert dataset.frame["is_fraud"].sum() == 492
    assert dataset.frame["time"].is_monotonic_increasing
    assert dataset.legitimate_kept == 20_000 / 284_315
    assert sample_path().stat().st_size <= 6_000_000
    assert b"Open Database License" in notes[b"fraudstream.licence"]
    assert b"Dal Pozzolo" in notes[b"fraudstream.citation"]


def test_thinning_keeps_every_fraud_and_changes_no_value(tmp_path):
    rng = np.random.default_rng(1)
    whole = pa.table(
        {
            "Time": np.arange(500.0),
            "V1": rng.normal(size=500),
            "Amount": rng.exponential(size=500),
            "Class": (rng.random(500) < 0.1).astype(np.int64),
        }
    )

    make_sample.write(make_sample.thin(whole, 50, seed=3), tmp_path / "thin.parquet")

    thin = pq.read_table(tmp_path / "thin.parquet").to_pandas()
    pd.testing.assert_frame_equal(thin, whole.to_pandas().iloc[thin["Time"].astype(int)].reset_index(drop=True))
    assert thin["Time"].is_monotonic_increasing
    assert thin["Class"].sum() == whole.to_pandas()["Class"].sum()
    assert (thin["Class"] == 0).sum() == 50


def test_the_path_of_the_sample_is_inside_the_package():
    assert sample_path().parent == Path(make_sample.__file__).parent / "data"


def test_rows_to_be_checked_need_no_labels_and_may_be_infinite(public, tmp_path):
    public.assign(V1=[0.1, np.nan, np.inf], card=["a", "b", "a"]).drop(columns="Class").to_parquet(
        tmp_path / "new.parquet"
    )

    rows = read_rows(tmp_path / "new.parquet", ["amount", "V1"], ["card"])

    assert rows.is_fraud is None
    assert rows.frame["amount"].tolist() == [10.0, 20.0, 30.0]
    assert np.array_equal(rows.frame["V1"], [0.1, np.nan, np.inf], equal_nan=True)
    assert rows.frame["card"].tolist() == ["a", "b", "a"]


def test_rows_to_be_checked_bring_their_labels_and_their_thinning_along():
    rows = read_rows(sample_path(), ["V3"])

    assert rows.is_fraud.sum() == 492
    assert rows.legitimate_kept == pytest.approx(0.0703, abs=1e-4)


def test_a_feature_that_is_not_there_is_named(public, tmp_path):
    public.to_parquet(tmp_path / "public.parquet")

    with pytest.raises(ConfigurationError, match="no column 'V2'"):
        read_rows(tmp_path / "public.parquet", ["V1", "V2"])
