"""What drifted is told in the terminal, to machines and on a page that a browser shows."""

import io
import os
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest
import typer
from drift_traffic import baseline_of, window_of
from rich.console import Console
from sampled import FEATURES, SCALES, START, baseline, batches, events, record

from drift.alarm import Severity
from drift.detect import Rule, examine
from drift.history import histories
from drift.monitor import Monitor
from drift.page import page
from drift.quality import quality_rows
from drift.report import Kind
from drift.table import tables
from drift.tally import Counts
from drift.times import Times
from drift.windows import DAY, HOUR, MINUTE, Timing, Watched
from drift.wire import from_value, to_value
from fraudstream.commands.drift_report import within
from schemas.errors import InvalidRecordError

BASELINES = {version: baseline(version) for version in ("7", "8")}
CHAMPION = Watched("card-fraud", "7", "champion")
CRITICAL = (200, 50, 79)
"""The colour in models/page.css."""


def reports_about(of):
    rule = Rule(scales=SCALES)
    over = Monitor("transactions", (0, 1), lambda watched: BASELINES[watched.version], rule, Timing(), START, 0)
    told = []
    for rows in batches(of):
        over.take(record(of, rows, rate=1.0), 0)
        told += over.due(0)
    return told


@pytest.fixture(scope="module")
def loud():
    """V1 shifts after two hours, and the country is another one."""
    of = events(4_800, minutes=240, shift=lambda minute: 3.0 if minute >= 120 else 0.0)
    of.rows[of.time >= START + 120 * MINUTE, FEATURES.index("country")] = 9
    return reports_about(of)


@pytest.fixture(scope="module")
def calm():
    return reports_about(events(4_800, minutes=240))


def printed(reports):
    out = io.StringIO()
    for table in tables(histories(reports)):
        Console(width=160, file=out).print(table)
    return out.getvalue()


def test_what_alarmed_is_told_with_the_largest_first_and_its_time(loud):
    history = next(each for each in histories(loud) if each.watched == CHAMPION)

    assert {alarm.subject for alarm in history.alarms} == {"V1", "country"}
    excesses = [alarm.largest[1].statistic / alarm.largest[1].threshold for alarm in history.alarms]
    assert excesses == sorted(excesses, reverse=True)
    pane = next(alarm for alarm in history.alarms if (alarm.subject, alarm.scale) == ("V1", "10m"))
    assert pane.windows[0].window_start == START + 120 * MINUTE
    assert pane.severity is Severity.CRITICAL
    assert history.subjects("10m")[:2] in (("V1", "country"), ("country", "V1"))


def test_the_tables_name_what_alarmed_and_the_quality_of_the_data(loud):
    text = printed(loud)

    assert "windows alarmed" in text
    for row in ("V1", "country", "V2 missing", "dead letters", "schemas"):
        assert row in text


def test_the_quality_of_the_data_is_told_by_volume_missing_values_range_schemas_and_dead_letters():
    rng = np.random.default_rng(3)
    usual, seen = rng.normal(size=(20_000, 2)), rng.normal(size=(1_000, 2))
    seen[:100, 0], seen[:250, 1] = 40.0, np.nan
    counts = Counts(scored=9_900, reviewed=50, declined=49, dead_lettered=100)
    window = replace(window_of(seen, counts=counts), schemas=("3", "4"))
    report = examine(window, baseline_of(usual, believed={"f0": (-8.0, 8.0)}), Rule())

    (history,) = histories([report])
    told = {name: (newest, worst) for name, _, newest, worst in quality_rows(history)}
    assert told == {
        "events": ("9,900", "9,900"),
        "sampled rows compared": ("1,000", "1,000"),
        "alerts": ("1 %", "1 %"),
        "dead letters": ("1 %", "1 %"),
        "schemas": ("3, 4", "2 at once"),
        "f1 missing": ("25 %", "25 %"),
        "f0 out of range": ("10 %", "10 %"),
    }
    assert {("f1", Kind.MISSING), ("f0", Kind.RANGE)} <= {(test.subject, test.kind) for test in report.alarms}


def test_windows_of_a_length_that_is_no_longer_told_are_not_taken_for_the_newest(calm):
    mine = [report for report in calm if report.watched == CHAMPION]
    middle = START + 120 * MINUTE
    older = [replace(report, scale=f"old {report.scale}") for report in mine if report.window_end <= middle]
    (both,) = histories([report for report in mine if report.window_end > middle] + older)

    assert set(both.scales) == {"10m", "1h", "old 10m", "old 1h"}
    assert (both.shortest[0].scale, both.longest[0].scale) == ("10m", "1h")
    # The older ones again longer, then shorter, than those that are told.
    for told, order in (("10m", ("10m", "10m")), ("1h", ("1h", "1h"))):
        (history,) = histories([each for each in mine if each.scale == told and each.window_end > middle] + older)
        assert (history.shortest[0].scale, history.longest[0].scale) == order


def test_the_volume_is_told_where_it_is_known_what_is_usual(calm):
    (mine,) = (each for each in histories(calm) if each.watched == CHAMPION)
    rows = {row[0]: row[1:] for row in quality_rows(mine)}

    assert rows["events a minute, all variants"][0] == "35.0"
    assert all(15 < float(rate) < 25 for rate in rows["events a minute, all variants"][1:])


def test_where_nothing_drifted_that_is_what_is_said(calm):
    assert "Nothing drifted in" in printed(calm)
    assert "alarms of" not in printed(calm)


class Elements(HTMLParser):
    """The elements of a page that are not closed, its tags, and all that it would ask others for."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.asked = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.asked += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "rect", "path", "circle", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("rect", "path", "circle"):
            assert self.open.pop() == tag


def test_the_page_stands_by_itself(loud):
    text = page(histories(loud), lambda watched: BASELINES[watched.version])
    elements = Elements()
    elements.feed(text)

    assert elements.open == []
    assert elements.asked == []
    assert "http" not in text
    assert "<script" not in text
    styles = [attributes.get("class") for tag, attributes in elements.tags if tag == "rect"]
    assert {"calm0", "critical", "insufficient"} <= set(styles)
    for title in ("V1, cumulated", "V1, share by value", "country", "Alert rate", "Score", "Dead letters"):
        assert title in text


def test_a_name_cannot_break_out_of_the_page(loud):
    evil = [replace(report, watched=Watched("<b>", "&", '"')) for report in loud if report.watched == CHAMPION]

    text = page(histories(evil), lambda _: None)

    assert "<b>" not in text.replace("<b>Windows", "").replace("<figcaption><b>", "")
    assert "&lt;b&gt;" in text


def test_the_page_looks_right_in_a_browser(loud, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        assert os.environ.get("REQUIRE_BROWSER") != "1", "no browser is installed"
        pytest.skip("no browser is installed")
    (tmp_path / "drift.html").write_text(page(histories(loud), lambda watched: BASELINES[watched.version]))
    picture = tmp_path / "page.png"
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={tmp_path}/profile",
    ]
    options += ["--window-size=1100,5000", f"--screenshot={picture}"]
    command = [browser, *options, f"file://{tmp_path}/drift.html"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)

    pixels = (matplotlib.image.imread(picture)[:, :, :3] * 255).round().astype(int)
    red = (np.abs(pixels[:820] - CRITICAL).max(axis=2) <= 2).sum(axis=0)
    (columns,) = (red > 40).nonzero()  # those of the legend are shorter
    assert columns.min() > 550, "the cells of critical alarms begin in the middle of the time that is shown"
    assert columns.max() > 1000, "and go on to its end"
    assert len(columns) > 300
    inked = (pixels != pixels[0, 0]).any(axis=2).any(axis=1)
    assert inked[3000:4500].mean() > 0.5, "the plots below are missing"


def test_reports_come_back_from_their_bytes(loud):
    assert [from_value(to_value(report)) for report in loud] == loud
    with pytest.raises(InvalidRecordError, match="no drift report"):
        from_value(b"{}")
    with pytest.raises(InvalidRecordError, match="broken"):
        from_value(to_value(loud[0])[:-20])


def test_a_stretch_of_time_is_an_age_or_two_moments(loud):
    newest = max(report.window_end for report in loud)

    assert {report.window_end for report in within(loud, "1h")} == {
        newest - minute * MINUTE for minute in range(0, 60, 10)
    }
    assert within(loud, "7d") == loud
    until_midnight = {report.window_end for report in within(loud, "2023-11-14T23:00/2023-11-15T00:00")}
    assert until_midnight == {START + minute * MINUTE for minute in range(50, 101, 10)}
    assert within(loud, "2023-11-14/2023-11-14") == []
    assert within([], "7d") == []
    for nonsense in ("", "0h", "7", "yesterday", "now/then"):
        with pytest.raises(typer.BadParameter, match="neither an age"):
            within(loud, nonsense)


def test_times_bear_a_date_where_there_are_several_days():
    assert Times(START, START + HOUR).at(START) == "22:20"
    assert Times(START, START + DAY).span(START, START + HOUR) == "14 Nov 22:20 to 14 Nov 23:20"
    assert [label for _, label in Times(START, START + 3 * DAY).ticks(START, START + 3 * DAY, 4)] == [
        "15 Nov",
        "16 Nov",
        "17 Nov",
    ]


def test_kinds_of_every_test_can_be_told(loud):
    assert {test.kind for report in loud for test in report.tests} >= {Kind.DISTRIBUTION, Kind.CATEGORIES, Kind.SCORE}
