"""A rollout says what serves which cards, and is refused where it contradicts itself."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from models.endpoint import Breaker, Endpoint
from models.manifest import Policy
from models.registry import Version
from models.rollout import MAX_BYTES, Changed, Document, Shadow, Variant, check, first, from_json, to_json
from models.routing import BUCKETS, SAMPLING_SALT_ID, Experiment, assign
from models.routing import Variant as Routed
from schemas.columns import BytesColumn
from schemas.errors import BadModelError, ConfigurationError

ONE, TWO = Version("card-fraud", "1"), Version("card-fraud", "2")
CHANGED = Changed("alice", datetime(2026, 11, 26, 14, 30, tzinfo=UTC), "it caught 3 % more", "set")


def split() -> Document:
    """A champion, a challenger on a twentieth of the cards, and a shadow."""
    return replace(
        first(ONE, CHANGED),
        variants=(
            Variant("champion", "card-fraud@1", "xgboost", ((0, 950_000),)),
            Variant("challenger", "card-fraud@2", "xgboost", ((950_000, BUCKETS),)),
        ),
        shadows=(Shadow("next", "card-fraud@3", "xgboost"),),
        policy=Policy("strict-1", 0.2, 0.7),
    )


def plain(document=None):
    return json.loads(to_json(document or split()))


def read(raw):
    return from_json(json.dumps(raw).encode(), "rollout.json")


def changed_at(path, value):
    """The document as JSON values, with another value (or, for ..., none) at the end of the path."""
    raw = inner = plain()
    for name in path[:-1]:
        inner = inner[name]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return raw


def test_the_first_rollout_sends_every_card_to_one_version():
    document = first(ONE, CHANGED, "account", "checkout")

    assert document.split == Experiment("checkout", 1, "checkout-1", (Routed("champion", ((0, BUCKETS),)),))
    assert (document.control.model, document.unit, document.sampling_salt_id) == (ONE, "account", SAMPLING_SALT_ID)
    assert check(document) == document


def test_what_is_written_is_read_back():
    assert from_json(to_json(split()), "rollout.json") == split()
    assert to_json(from_json(to_json(split()), "rollout.json")) == to_json(split())


def test_a_person_can_read_it():
    text = to_json(split()).decode()

    assert '"version": "card-fraud@2"' in text
    assert '"when": "2026-11-26T14:30:00Z"' in text


def test_the_routing_is_given_names_and_ranges():
    experiment = split().split

    assert [(each.name, each.share) for each in experiment.variants] == [("champion", 0.95), ("challenger", 0.05)]
    assert (experiment.id, experiment.epoch, experiment.salt_id) == ("default", 1, "default-1")


ASSIGNING = """
import sys
import numpy as np
from models.rollout import from_json
from models.routing import assign
from schemas.columns import BytesColumn
data = np.frombuffer(b"".join(b"card-%06d" % number for number in range(500)), np.uint8)
lengths = np.where(np.arange(500) % 100 == 7, 0, 11)
drawn = assign(BytesColumn(data, np.arange(500) * 11, lengths, None), from_json(sys.stdin.buffer.read(), "stdin").split)
print(drawn.buckets.tolist(), drawn.variants.tolist())
"""


def test_the_same_document_assigns_the_same_cards_in_any_process_whatever_its_hash_seed():
    printed = {
        subprocess.run(
            [sys.executable, "-c", ASSIGNING],
            env={**os.environ, "PYTHONHASHSEED": seed},
            input=to_json(split()),
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for seed in ("0", "1234")
    }

    data = np.frombuffer(b"".join(b"card-%06d" % number for number in range(500)), np.uint8)
    lengths = np.where(np.arange(500) % 100 == 7, 0, 11)
    drawn = assign(BytesColumn(data, np.arange(500) * 11, lengths, None), split().split)
    assert printed == {f"{drawn.buckets.tolist()} {drawn.variants.tolist()}\n".encode()}
    assert set(drawn.variants) == {0, 1}


def test_each_version_is_loaded_once():
    document = replace(split(), shadows=(*split().shadows, Shadow("again", "card-fraud@2", "xgboost")))
    loaded = []

    check(document, loaded.append)

    assert loaded == [ONE, TWO, Version("card-fraud", "3")]


def test_a_version_that_does_not_load_is_not_let_through():
    def load(version):
        if version == TWO:
            raise BadModelError("card-fraud@2 has no manifest.json")

    with pytest.raises(BadModelError, match="card-fraud@2"):
        check(split(), load)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["epoch"], "1", r"Expected `int`, got `str` - at `\$\.epoch`"),
        (["epoch"], True, r"Expected `int`, got `bool` - at `\$\.epoch`"),
        (["epoch"], float("nan"), r"Expected `int`, got `float` - at `\$\.epoch`"),
        (["epoch"], 0, "epoch must lie between 1 and"),
        (["epoch"], 2**31, "epoch must lie between 1 and"),
        (["unit"], ..., "missing required field `unit`"),
        (["unit"], "", "unit must name the input field"),
        (["experiment_id"], "x" * 49, "experiment_id must be a word .* 48 at most"),
        (["experiment_id"], "a b", "experiment_id must be a word"),
        (["salt_id"], "", "salt_id must be a word"),
        (["sampling_salt_id"], "another", "sampling_salt_id must be 'feature-samples-1'"),
        (["salt_id"], SAMPLING_SALT_ID, "salt_id must differ from sampling_salt_id"),
        (["extra"], 1, r"there is no field \$\.extra"),
        (["variants"], [], "variants: there must be 1 to 32"),
        (["variants", 1, "weight"], 5, r"there is no field \$\.variants\[1\]\.weight"),
        (["variants", 1, "name"], "champion", "variants: champion is the name of another one too"),
        (["variants", 1, "name"], "", "variants: a name must be a word"),
        (["variants", 1, "name"], "a\n", "variants: a name must be a word"),
        (["variants", 1, "version"], "card-fraud", "variants: challenger: version: '' cannot be part of NAME@VERSION"),
        (["variants", 1, "backend"], "magic", r"Invalid enum value 'magic' - at `\$\.variants\[1\]\.backend`"),
        (["variants", 1, "ranges", 0, 0], 950_000.0, r"got `float` - at `\$\.variants\[1\]\.ranges\[0\]\[0\]`"),
        (["variants", 1, "ranges", 0, 0], 950_001, "variants: .* buckets around 950000 are served by no variant"),
        (["variants", 1, "ranges", 0, 0], 949_999, "variants: .* buckets around 949999 are served by no variant or"),
        (["variants", 1, "ranges", 0, 1], 999_999, "variants: .* buckets from 999999 on are served by no variant"),
        (["variants", 1, "ranges", 0, 1], 1_000_001, "variants: .* buckets from 1000001 on"),
        (["variants", 1, "ranges"], [[950_000, BUCKETS], [5, 5]], "variants: challenger has a range of no bucket"),
        (["variants", 0, "ranges", 0, 0], -1, "variants: .* buckets around -1"),
        (["variants", 0, "ranges"], [[0, 950_000, 1]], r"length 2, got 3 - at `\$\.variants\[0\]\.ranges\[0\]`"),
        (["shadows", 0, "name"], "challenger", "shadows: challenger is the name of another one too"),
        (["shadows", 0, "version"], "card-fraud@../1", "shadows: next: version: '../1' cannot be part of"),
        (["shadows"], [{"name": f"s{n}", "version": "m@1", "backend": "xgboost"} for n in range(17)], "at most 16"),
        (["policy", "review_at"], float("nan"), "policy: review_at and decline_at must be probabilities"),
        (["policy", "decline_at"], float("nan"), "policy: review_at and decline_at must be probabilities"),
        (["policy", "decline_at"], float("inf"), "policy: review_at and decline_at must be probabilities"),
        (["policy", "review_at"], 0.8, "policy: .* review_at the lower one"),
        (["policy", "review_at"], -0.1, "policy: review_at and decline_at must be probabilities"),
        (["policy", "review_at"], "0.2", r"Expected `float`, got `str` - at `\$\.policy\.review_at`"),
        (["policy", "version"], "", "policy.version must be a word"),
        (["policy", "note"], "x", r"there is no field \$\.policy\.note"),
        (["changed", "when"], "2026-11-26T14:30:00", r"Expected `datetime` with a timezone.* `\$\.changed\.when`"),
        (["changed", "when"], "yesterday", r"at `\$\.changed\.when`"),
        (["changed", "why"], "\x1b[2J", r"changed\.why must be one line of at most 500 printable characters"),
        (["changed", "who"], "x" * 501, r"changed\.who must be one line of at most 500 printable characters"),
        (["changed", "what"], "a\nb", r"changed\.what must be one line"),
        (["changed", "who"], None, r"Expected `str`, got `null` - at `\$\.changed\.who`"),
    ],
)
def test_what_is_wrong_is_named_in_one_sentence(path, value, said):
    with pytest.raises(ConfigurationError, match=said) as refusal:
        read(changed_at(path, value))

    assert str(refusal.value).startswith("rollout.json: ")
    assert "\n" not in str(refusal.value)


def remote(**settings):
    """The document whose challenger is served by an endpoint."""
    control, challenger = split().variants
    served = replace(challenger, backend="sagemaker", endpoint=Endpoint(**({"name": "fraud"} | settings)))
    return replace(split(), variants=(control, served))


def test_an_endpoint_is_written_and_read_back():
    document = remote(target_variant="blue", on_outage="fallback", fallback="card-fraud@9", breaker=Breaker(probes=3))

    assert from_json(to_json(document), "rollout.json") == document
    assert [str(version) for version in document.models] == [
        "card-fraud@1", "card-fraud@2", "card-fraud@9", "card-fraud@3",
    ]  # fmt: skip
    assert str(remote(on_outage="fallback").variants[1].fallback) == "card-fraud@2"
    assert remote().variants[1].fallback is None


def test_a_rollout_from_before_there_were_endpoints_is_read():
    raw = plain()
    for each in (*raw["variants"], *raw["shadows"]):
        del each["endpoint"]

    assert read(raw) == split()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": ""}, "endpoint: name must be letters"),
        ({"name": "a_b"}, "endpoint: name must be letters"),
        ({"name": "x" * 64}, "endpoint: name must be letters"),
        ({"target_variant": "-a"}, "target_variant must be letters"),
        ({"inference_component": "a/b"}, "inference_component must be letters"),
        ({"custom_attributes": "a\nb"}, "custom_attributes must be"),
        ({"region": "http://x"}, "region must be"),
        ({"fallback": "card-fraud@1"}, "fallback needs"),
        ({"on_outage": "fallback", "fallback": "card-fraud"}, "endpoint: fallback: '' cannot be part"),
        ({"budget_seconds": 31.0}, "budget_seconds must lie between 0.1 and 30"),
        ({"budget_seconds": float("nan")}, "budget_seconds must lie"),
        ({"budget_seconds": 1.0, "read_seconds": 2.0}, "read_seconds must lie between 0.05 and 1"),
        ({"in_flight": 0}, "in_flight must lie between 1 and 64"),
        ({"request_bytes": 6_291_457}, "request_bytes must lie between 1,000 and 6,291,456"),
        ({"breaker": Breaker(errors=0.0)}, "breaker.errors must lie"),
        ({"breaker": Breaker(least=21)}, "breaker.least must lie between 1 and 20"),
    ],
)
def test_what_is_wrong_with_an_endpoint_is_named(settings, said):
    with pytest.raises(ConfigurationError, match=f"variants: challenger: endpoint: .*{said}|challenger: {said}"):
        check(remote(**settings))


def test_an_endpoint_and_its_backend_come_together():
    document = remote()
    control, challenger = document.variants
    for changed in (replace(challenger, backend="xgboost"), replace(challenger, endpoint=None)):
        with pytest.raises(ConfigurationError, match="endpoint must be given with the backend"):
            check(replace(document, variants=(control, changed)))


def test_all_endpoints_together_keep_a_batch_waiting_no_longer_than_one_might():
    document = remote(budget_seconds=20.0)
    control, challenger = document.variants
    both = (replace(control, backend="sagemaker", endpoint=challenger.endpoint), challenger)

    check(document)
    with pytest.raises(ConfigurationError, match="may sum to 30 at most"):
        check(replace(document, variants=both))


def test_a_challenger_without_cards_has_no_place_and_the_control_has():
    control, challenger = split().variants
    with pytest.raises(ConfigurationError, match="challenger has no buckets"):
        check(replace(split(), variants=(replace(control, ranges=((0, BUCKETS),)), replace(challenger, ranges=()))))

    check(replace(split(), variants=(replace(control, ranges=()), replace(challenger, ranges=((0, BUCKETS),)))))


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b"\xff", b'{"epoch": 1}', b"[" * 100_000])
def test_what_is_no_rollout_at_all_is_refused(data):
    with pytest.raises(ConfigurationError, match=r"rollout\.json"):
        from_json(data, "rollout.json")


def test_a_field_that_is_said_twice_is_refused():
    twice = to_json(split()).replace(b'"epoch": 1,', b'"epoch": 1, "epoch": 2,')

    with pytest.raises(ConfigurationError, match="names something twice"):
        from_json(twice, "rollout.json")


def test_a_document_without_end_is_not_parsed():
    with pytest.raises(ConfigurationError, match=r"rollout\.json is larger than it may be"):
        from_json(b" " * (MAX_BYTES + 1), "rollout.json")
