"""The baselines of a store are at hand for what is watched, and no longer."""

from sampled import baseline

from drift.baseline_file import to_bytes
from drift.baselines import Baselines
from drift.windows import Watched


class Counting:
    """A registry whose every version has a baseline; it counts how often one is read."""

    def __init__(self):
        self.reads = []

    def file(self, version, name):
        self.reads.append(version.version)
        return to_bytes(baseline(version.version))


def watched(version, variant="champion"):
    return Watched("card-fraud", version, variant)


def test_a_baseline_of_the_store_is_read_once_while_it_is_kept_and_again_when_needed_later():
    registry = Counting()
    baselines = Baselines([], registry)
    first = baselines(watched("8"))
    assert baselines(watched("8", "challenger")) is first
    baselines(watched("9"))

    baselines.keep({watched("9")})

    assert baselines(watched("9")).version == "9"
    assert registry.reads == ["8", "9"]
    assert baselines(watched("8")).sha256 == first.sha256
    assert registry.reads == ["8", "9", "8"]


def test_a_baseline_that_the_settings_name_is_kept_whatever_is_watched(tmp_path):
    (tmp_path / "baseline.npz").write_bytes(to_bytes(baseline("7")))
    baselines = Baselines([tmp_path], None)
    named = baselines(watched("7"))

    baselines.keep(())

    assert baselines(watched("7")) is named
