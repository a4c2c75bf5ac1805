"""A baseline is what the traffic was like, and its file can be trusted with nothing but numbers."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from drift import baseline_file
from drift.baseline import Nature
from drift.period import Alerts, Period
from drift.reference import CAPACITY, build
from drift.report import Kind
from drift.sampled_period import SampledPeriod
from drift.tally import Counts
from drift.training_set import Scored, period_of
from drift.volume import Hours, Traffic, expected
from drift.windows import DAY, HOUR, MINUTE, PANE, SCALES, TODAY, Minute, Sample, Watched
from schemas.dataset import Dataset
from schemas.errors import ConfigurationError, InvalidRecordError

ROWS = 6_000

GOLDEN_HASHES = [5475725194112695399, 12083855183691838255, 12193469063680292460]


def period(rows, days=3.0, rng=None, **fields):
    """Rows at even times over so many days."""
    rng = rng or np.random.default_rng(1)
    names = tuple(f"f{at}" for at in range(rows.shape[1]))
    times = (np.arange(len(rows)) * days * DAY / len(rows)).astype(np.int64)
    hashes = rng.integers(0, 2**64, len(rows), dtype=np.uint64)
    made = Period("test", names, times, hashes, None, rows.astype(np.float32), None, None)
    return replace(made, **fields)


def mixed(rng, rows=ROWS):
    """A feature of each nature, and one with holes and infinities."""
    holed = rng.normal(size=rows)
    holed[rng.random(rows) < 0.2] = np.nan
    holed[:30] = np.inf
    columns = (rng.normal(size=rows), rng.integers(0, 5, rows), np.full(rows, 7.0), rng.integers(0, 300, rows), holed)
    return np.stack(columns, axis=1)


@pytest.fixture(scope="module")
def baseline():
    rng = np.random.default_rng(2)
    rows = mixed(rng)
    rows[:, 0] += np.linspace(0, 1, ROWS)  # so that its days differ
    seen = period(rows, scores=rng.beta(1, 50, ROWS).astype(np.float32))
    alerts = Alerts(seen.times, np.full(ROWS, 20), rng.binomial(20, 0.02, ROWS))
    return build(replace(seen, alerts=alerts), "card-fraud", "7", {"f0": (-2.0, 2.0)}, categorical=["f3"])


@pytest.fixture(scope="module")
def data(baseline):
    return baseline_file.to_bytes(baseline)


def test_each_feature_is_found_to_be_what_it_is(baseline):
    assert [profile.nature for profile in baseline.features] == [
        Nature.CONTINUOUS,
        Nature.DISCRETE,
        Nature.CONSTANT,
        Nature.CATEGORICAL,
        Nature.CONTINUOUS,
    ]
    continuous, discrete, constant, categorical, holed = baseline.features
    assert continuous.deciles == pytest.approx(np.quantile(continuous.values, np.arange(1, 10) / 10), abs=0.01)
    assert (continuous.outside, continuous.believed) == ((np.abs(continuous.values) > 2).sum(), (-2.0, 2.0))
    assert list(discrete.values) == [0, 1, 2, 3, 4]
    assert discrete.counts.sum() == ROWS
    assert (list(constant.values), list(constant.counts)) == ([7.0], [ROWS])
    assert len(categorical.values) == 300
    assert holed.missing == pytest.approx(0.2 * ROWS, rel=0.1)
    assert 20 < holed.infinite <= 30
    assert len(holed.values) == holed.finite == ROWS - holed.missing - holed.infinite


def test_a_baseline_of_much_traffic_is_a_uniform_sample_of_it():
    rng = np.random.default_rng(3)
    made = build(period(np.sort(rng.normal(size=(60_000, 1)), axis=0)), "m", "1", {})

    assert made.rows == 60_000
    assert len(made.features[0].values) == CAPACITY
    assert stats.kstest(made.features[0].values, "norm").pvalue > 0.01


def test_values_are_float32_whatever_they_were():
    made = build(period(np.tile([[0.1], [0.2], [0.3]], (1_000, 1))), "m", "1", {})

    (profile,) = made.features
    assert list(profile.values) == [np.float32(0.1), np.float32(0.2), np.float32(0.3)]


def test_own_windows_know_the_daily_swing_and_none_where_there_is_none():
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(60_000, 2))
    hour = np.arange(60_000) * 72 / 60_000
    rows[:, 0] += 0.5 * np.sin(2 * np.pi * hour / 24)
    made = build(period(rows), "m", "1", {})
    short, day = made.own

    # The swing of half a deviation is a distance of 0.2 at its turning points.
    assert short.of("f0", Kind.DISTRIBUTION) == pytest.approx(0.2, abs=0.04)
    assert short.of("f1", Kind.DISTRIBUTION) < 0.03
    assert day.of("f0", Kind.DISTRIBUTION) < 0.02
    assert (short.length, short.count) == (160 * MINUTE, 27)  # 139 rows in ten minutes would tell of chance alone
    assert (day.length, day.count) == (DAY, 49)


def test_a_window_is_compared_with_the_rest_of_the_period_and_not_with_itself():
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(40_000, 1))
    rows[20_000:] += 1.0
    made = build(period(rows, days=2.0), "m", "1", {})

    apart = 2 * stats.norm.cdf(0.5) - 1
    assert made.own_windows(TODAY).of("f0", Kind.DISTRIBUTION) == pytest.approx(apart, abs=0.02)


def test_own_windows_know_how_much_the_volume_of_the_days_differs_and_not_its_daily_swing():
    rng = np.random.default_rng(6)
    minute = np.arange(14 * 24 * 60)
    swing = 10_000 * (1.2 + np.sin(2 * np.pi * (minute // 60) / 24))
    weekend = np.where(minute // 1_440 % 7 >= 5, 0.5, 1.0)
    even, uneven = (Traffic(0, rng.poisson(rate)) for rate in (swing, swing * weekend))
    seen = period(rng.normal(size=(20_000, 1)), days=14.0)
    made = [build(replace(seen, traffic=traffic), "m", "1", {}) for traffic in (even, uneven)]

    night, noon = (expected(made[0].volume, hour * HOUR, hour * HOUR + 10 * MINUTE)[0] for hour in (18, 6))
    assert (night, noon) == pytest.approx((20_000, 220_000), rel=0.05)
    assert made[0].own_windows(PANE).of("volume", Kind.RATE) < 0.05
    # Half a day's worth against thirteen other days, three of which are of a weekend too.
    assert made[1].own_windows(PANE).of("volume", Kind.RATE) == pytest.approx(np.log(2 * 11.5 / 13), abs=0.05)


def test_the_alert_rate_of_few_rows_is_not_taken_for_a_season():
    rng = np.random.default_rng(6)
    seen = period(rng.normal(size=(20_000, 1)))
    alerts = Alerts(seen.times, np.ones(20_000, np.int64), (rng.random(20_000) < 0.003).astype(np.int64))
    made = build(replace(seen, alerts=alerts), "m", "1", {})

    assert made.alerts == (alerts.alerts.sum(), 20_000)
    assert made.own_windows(PANE).of("alerts", Kind.RATE) < 0.003


def test_a_baseline_says_when_it_knows_too_little():
    rng = np.random.default_rng(7)
    week = build(period(rng.normal(size=(60_000, 1)), days=7.01), "m", "1", {})
    day = build(period(rng.normal(size=(5_000, 1)), days=1.0), "m", "1", {})

    assert week.doubts == ()
    weekly, daily = day.doubts
    assert weekly.startswith("the baseline covers 1.0 days, less than one weekly cycle")
    assert daily.startswith("the reference period holds too few whole windows of 24h")


def test_rows_of_one_card_are_counted():
    rows = np.random.default_rng(8).normal(size=(3_000, 1))
    made = build(period(rows, units=np.repeat(np.arange(1_000, dtype=np.uint64), 3)), "m", "1", {})

    assert made.rows_per_card == 3


def test_a_categorical_feature_that_the_model_has_not_is_a_configuration_error():
    with pytest.raises(ConfigurationError, match="'mcc' is no feature of m@1"):
        build(period(np.zeros((10, 1))), "m", "1", {}, categorical=["mcc"])


def test_a_period_of_nothing_is_a_configuration_error():
    with pytest.raises(ConfigurationError, match="holds no rows"):
        build(period(np.zeros((0, 1))), "m", "1", {})


def dataset(rows=4_000, frauds=400, kept=1.0):
    rng = np.random.default_rng(9)
    frame = pd.DataFrame(
        {
            "time": np.arange(rows) * 30.0,
            "amount": rng.exponential(50, rows),
            "V1": rng.normal(size=rows),
            "is_fraud": np.arange(rows) % (rows // frauds) == 0,
            "card": [f"card-{at // 4}" for at in range(rows)],
        }
    )
    return Dataset(frame, ("V1", "amount"), kept)


def test_frauds_are_thinned_as_the_legitimate_rows_of_a_training_set_were():
    seen = period_of(dataset(kept=0.1), "file", ("V1", "amount"), None)

    assert 3_600 + 20 < len(seen.times) < 3_600 + 65
    assert len(period_of(dataset(), "file", ("V1", "amount"), None).times) == 4_000


def test_the_scores_of_rows_that_the_model_learned_from_are_left_out():
    scores = np.linspace(0, 1, 4_000)
    seen = period_of(dataset(), "file", ("V1", "amount"), Scored(scores, review_at=0.9, learned=2_400))

    assert np.isnan(seen.scores[:2_400]).all()
    assert seen.scores[2_400:] == pytest.approx(scores[2_400:], rel=1e-6)
    assert (seen.alerts.scored.sum(), seen.alerts.alerts.sum()) == (1_600, 400)
    assert seen.times[1] - seen.times[0] == 30_000


def test_cards_are_told_apart_by_the_column_that_holds_them():
    made = build(period_of(dataset(), "file", ("V1", "amount"), None, card="card"), "m", "1", {})

    assert made.rows_per_card == 4
    with pytest.raises(ConfigurationError, match="no column 'pan'"):
        period_of(dataset(), "file", ("V1", "amount"), None, card="pan")


def test_the_same_rows_are_chosen_from_a_data_set_for_ever():
    seen = period_of(dataset(), "file", ("V1", "amount"), None)

    assert seen.hashes[:3].tolist() == GOLDEN_HASHES


def sampled(first, times, watched=("card-fraud", "7", "champion"), features=("V1",)):
    count = len(times)
    ids = np.arange(first, first + count, dtype=np.uint64)
    return Sample(
        watched=Watched(*watched),
        sampled_at=int(times[-1]),
        schemas=("1",),
        features=features,
        hashes=ids * np.uint64(0x9E3779B97F4A7C15),
        units=ids,
        event_times=np.array(times, np.int64),
        rows=ids.astype(np.float32)[:, None],
        scores=np.full(count, 0.5, np.float32),
        minutes=(Minute(int(times[0]) // MINUTE * MINUTE, Counts(scored=20 * count, reviewed=1, declined=2)),),
    )


def test_a_period_of_live_traffic_holds_each_sampled_row_of_the_model_once_and_in_order_of_time():
    start = 1_700_006_400_000
    seen = SampledPeriod("fraud.feature-samples", "card-fraud", "7", start, start + DAY)
    second, first = sampled(2, [start + HOUR, start + HOUR + 1]), sampled(0, [start, start + 1_500])
    for each in (
        second,
        first,
        replace(first, minutes=()),
        sampled(9, [start + 5], watched=("card-fraud", "8", "canary")),
        sampled(10, [start - 1, start + DAY]),
    ):
        seen.add(each)
    made = seen.period()

    assert made.times.tolist() == [start, start + 1_500, start + HOUR, start + HOUR + 1]
    assert made.rows[:, 0].tolist() == [0, 1, 2, 3]
    assert made.scores.tolist() == [0.5] * 4
    assert made.units.tolist() == [0, 1, 2, 3]
    assert made.alerts.between(start, start + DAY) == Counts(scored=80, reviewed=6)
    # That of the canary too: some of its traffic may become the champion's.
    assert made.traffic.between(start, start + DAY).events == 80 + 20
    assert len(made.traffic.events) == 61


def test_a_period_without_a_sample_of_the_model_is_a_configuration_error():
    seen = SampledPeriod("fraud.feature-samples", "card-fraud", "7", 0, DAY)

    with pytest.raises(ConfigurationError, match="no samples of card-fraud@7"):
        seen.period()
    seen.add(sampled(0, [1_000]))
    with pytest.raises(InvalidRecordError, match="other features"):
        seen.add(sampled(0, [1_000], features=("V2",)))


def test_the_file_gives_the_baseline_back(baseline, data):
    read = baseline_file.from_bytes(data, "file")

    assert baseline_file.to_bytes(read) == data
    assert read.own == baseline.own
    assert read.alerts == baseline.alerts
    assert [profile.nature for profile in read.features] == [profile.nature for profile in baseline.features]
    assert len(read.sha256) == 64


def test_a_baseline_without_scores_goes_through_its_file_too(baseline):
    usual = Hours(events=tuple(range(24)), minutes=(60,) * 24)
    bare = replace(baseline, score=None, alerts=None, volume=usual)

    read = baseline_file.from_bytes(baseline_file.to_bytes(bare), "file")
    assert read.score is None
    assert read.volume == usual


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choices=st.data())
def test_damaged_bytes_are_refused_and_never_read_otherwise(data, choices):
    spoiled = bytearray(data)
    for _ in range(choices.draw(st.integers(1, 3))):
        spoiled[choices.draw(st.integers(0, len(data) - 1))] ^= choices.draw(st.integers(1, 255))
    cut = choices.draw(st.integers(0, len(data)) | st.just(len(data)))

    try:
        read = baseline_file.from_bytes(bytes(spoiled[:cut]), "file")
    except ConfigurationError as error:
        assert str(error).startswith("file is not a baseline: ")  # noqa: PT017 - either outcome is checked
    else:
        assert baseline_file.to_bytes(read) == data  # a byte that says nothing, such as the date of a member


def members(data):
    with np.load(io.BytesIO(data)) as file:
        return dict(file)


def saved(**arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def about(data, old, new):
    """The file with other words in what it says of itself."""
    arrays = members(data)
    text = arrays["about"].tobytes()
    assert old in text
    return saved(**arrays | {"about": np.frombuffer(text.replace(old, new, 1), np.uint8)})


def day(events, minutes):
    return json.dumps({"events": [events] * 24, "minutes": [minutes] * 24}).encode()


def volume(of_a_day):
    return b'"version":"7"', b'"version":"7","volume":' + of_a_day


def compressed(data):
    out = io.BytesIO()
    np.savez_compressed(out, **members(data))
    return out.getvalue()


def pickled(data):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, array in (members(data) | {"values": np.array([print], object)}).items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array)
    return out.getvalue()


def encrypted(data):
    """The file with the flag of encryption on its first member."""
    at = data.index(b"PK\x01\x02") + 8
    return data[:at] + b"\x01" + data[at + 1 :]


def endless(data):
    """The file with a header that promises terabytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, array in members(data).items():
            content = io.BytesIO()
            shape = (10**13,) if name == "counts" else array.shape
            header = {"descr": array.dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(content, header)
            archive.writestr(f"{name}.npy", content.getvalue() + array.tobytes())
    return out.getvalue()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: b"", "damaged, or something else"),
        (lambda data: b"PK\x05\x06" + bytes(18), "damaged, or something else"),
        (compressed, "compressed"),
        (pickled, "values are of another type or number"),
        (encrypted, "damaged, or something else"),
        (endless, "counts are of another type or number"),
        (lambda data: data + bytes(baseline_file.MOST_BYTES), "more than 67,108,864 bytes"),
        (lambda data: about(data, b'"format":1', b'"format":2'), "format 2"),
        (lambda data: about(data, b'"name":"f1"', b'"name":"f0"'), "describes a feature twice"),
        (lambda data: about(data, b'"nature":"constant"', b'"nature":"ordinal"'), "damaged, or something else"),
        (lambda data: about(data, b'"rows":6000', b'"rows":6001'), "are not those of its values"),
        (lambda data: about(data, b'"rows":6000', b'"rows":-1'), "contradict each other"),
        (lambda data: about(data, b'"believed":[-2.0,2.0]', b'"believed":[3.0,2.0]'), "believes no value"),
        (lambda data: about(data, b'"rows_per_card":1.0', b'"rows_per_card":0.1'), "no rows, or of no time"),
        (lambda data: about(data, b'"rows_per_card":1.0', b'"rows_per_card":1e999'), "damaged|no rows, or of no time"),
        (lambda data: about(data, b'"count":49', b'"count":-4'), "fewer than no windows"),
        (lambda data: about(data, b'"distribution f0":', b'"distribution f0":-'), "no usual difference"),
        (lambda data: about(data, *volume(b'{"events":[1],"minutes":[1]}')), "no 24 hours"),
        (lambda data: about(data, *volume(day(1, 0))), "events in no time"),
        (lambda data: about(data, *volume(day(-1, 1))), "events in no time"),
        (lambda data: saved(**members(data) | {"values": members(data)["values"][:-1]}), "more values than"),
        (lambda data: saved(**members(data) | {"values": members(data)["values"][::-1]}), "do not rise"),
        (lambda data: saved(**members(data) | {"values": members(data)["values"] * np.nan}), "that is no number"),
        (
            lambda data: saved(**members(data) | {"values": members(data)["values"].astype("f8")}),
            "values are of another type",
        ),
        (lambda data: saved(**members(data) | {"counts": -members(data)["counts"]}), "not those of its values"),
        (lambda data: saved(**members(data) | {"deciles": members(data)["deciles"][::-1]}), "do not rise"),
    ],
)
def test_a_file_that_is_no_baseline_or_contradicts_itself_is_refused_with_the_reason(data, spoil, reason):
    with pytest.raises(ConfigurationError, match=f"^store/baseline.npz is not a baseline: .*{reason}"):
        baseline_file.from_bytes(spoil(data), "store/baseline.npz")


def test_the_scales_of_a_baseline_are_those_of_the_windows(baseline):
    assert [own.scale for own in baseline.own] == [scale.name for scale in SCALES]
