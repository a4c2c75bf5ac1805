"""No card number leaves by a log line or an error, and no field that nobody has allowed."""

import ast
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

import consumer
from consumer.redact import ALLOWED, CARD_NUMBER, NOT_ALLOWED, redact, redact_value
from fraudstream import logs

VISA, AMEX, MASTERCARD = "4111111111111111", "378282246310005", "5555555555554444"
ROOT = Path(consumer.__file__).resolve().parent.parent


@pytest.mark.parametrize(
    "text",
    [
        VISA,
        AMEX,
        MASTERCARD,
        "4222222222222",
        "30569309025904",
        "6011000990139424",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111  1111\n1111 1111",
        f"card-{VISA}",
        f"{VISA}-1",
        f"1{VISA}",
        f"0000{VISA}0000",
        "".join(chr(0x660 + int(digit)) for digit in VISA),
    ],
)
def test_a_card_number_is_found_however_it_is_written(text):
    assert redact(f"<{text}>") in {f"<{CARD_NUMBER}>", f"<card-{CARD_NUMBER}>"}


@pytest.mark.parametrize(
    "text",
    [
        "1700000000000",
        "1795708932321 ms",
        "offset 123456789012",
        "2026-11-26 15:02:34",
        "127.0.0.1:9092",
        "tx-000000000057",
        "4111111111111112",
        "0.029160170175266",
        "7481bf5f-afe7-8ac8-8000-400000000014",
    ],
)
def test_what_is_no_card_number_is_left(text):
    assert redact(text) == text


def passes_luhn(number):
    """The check, digit by digit, as it is taught."""
    total = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


@given(st.text("0123456789", min_size=15, max_size=15))
def test_of_sixteen_digits_those_that_pass_luhn_are_card_numbers(rest):
    number = "4" + rest

    if passes_luhn(number):
        assert redact(number) == CARD_NUMBER


@given(st.text("0123456789 -x", max_size=40))
def test_what_is_redacted_once_is_clean(text):
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "value",
    [
        *(VISA, int(VISA), VISA.encode(), [VISA], (VISA,), {VISA}),
        *({"a": {"b": VISA}}, {VISA: 1}, ValueError(VISA), Path(VISA)),
    ],
)
def test_a_value_of_any_kind_is_searched(value):
    assert VISA not in json.dumps(redact_value(value))


def test_plain_values_stay_what_they_are():
    plain = {"a": [1, 2.5, None, True, "text"]}

    assert redact_value(plain) == plain


@pytest.fixture
def lines(monkeypatch):
    """What is logged from now on, as the command line sets it up."""
    before, stderr = structlog.get_config(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    logs.configure("json", "debug")
    yield lambda: [json.loads(line) for line in stderr.getvalue().splitlines()]
    structlog.configure(**before)


def test_a_field_that_nobody_has_allowed_does_not_leave(lines):
    structlog.get_logger().info("started", slot="s", payload="secret")

    (line,) = lines()
    assert (line["event"], line["slot"], line["payload"]) == ("started", "s", NOT_ALLOWED)


def test_card_numbers_leave_by_no_part_of_a_log_line(lines):
    log = structlog.get_logger()
    log.error(VISA, reason=f"because {VISA}", partitions=[int(VISA)], error=ValueError(VISA))
    try:
        int(VISA[:-1] + "-" + VISA[-1])
    except ValueError:
        log.exception("failed")

    first, second = lines()
    assert VISA not in json.dumps([first, second])
    assert first["reason"] == f"because {CARD_NUMBER}"
    assert f"invalid literal for int() with base 10: '{CARD_NUMBER}'" in second["exception"]


def logged_fields():
    """(place, field) of every log line in the source."""
    for package in ("consumer", "models", "schemas", "drift", "producer", "deploy", "fraudstream"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if is_log_call(node):
                    yield from ((f"{file.name}:{node.lineno}", keyword.arg) for keyword in node.keywords)


def is_log_call(node):
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"debug", "info", "warning", "error", "exception", "critical", "bind"}
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "log"
    )


def test_every_field_that_is_logged_anywhere_is_allowed():
    found = list(logged_fields())

    assert len(found) > 20
    assert [(place, name) for place, name in found if name not in ALLOWED] == []


@pytest.mark.parametrize(
    "words",
    [
        ("score", "--model", VISA),
        ("config", "--kafka", VISA),
        ("tail", "t", "--bootstrap-servers", f"127.0.0.1:1,{VISA}:1", "--kafka", f"x={VISA}"),
    ],
)
def test_an_error_of_the_command_line_repeats_no_card_number(words):
    done = subprocess.run(
        [sys.executable, "-m", "fraudstream", *words], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 78
    assert VISA not in done.stdout + done.stderr
    assert done.stderr.startswith("fraudstream: ")


def test_a_crash_repeats_no_card_number():
    program = f"from fraudstream import logs; logs.guard(); raise ValueError('{VISA[:8]}' + '{VISA[8:]}')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert VISA not in done.stderr
    assert f"ValueError: {CARD_NUMBER}" in done.stderr
