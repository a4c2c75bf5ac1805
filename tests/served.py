"""Rollouts of small models, as tests put them into a store."""

from dataclasses import replace
from datetime import UTC, datetime

from models import rollout
from models.manifest import MANIFEST_FILE, from_json, to_json
from models.registry import Version
from models.rollout import Changed, Document
from models.rollout_store import RolloutStore
from models.routing import BUCKETS, SAMPLING_SALT_ID
from models.store import NotStoredError

CHANGED = Changed("alice", datetime(2026, 11, 26, tzinfo=UTC), "because", "set")


def document(control, *, epoch=1, policy=None, shadows=(), unit="card_id", **challengers):
    """A rollout of versions of the model ``m``: the control, ``name=(version, share)``, ``shadows`` by version."""
    edge, variants = BUCKETS, []
    for name, (version, share) in challengers.items():
        start = edge - round(share * BUCKETS)
        variants.append(rollout.Variant(name, f"m@{version}", "xgboost", ((start, edge),)))
        edge = start
    champion = rollout.Variant("champion", f"m@{control}", "xgboost", ((0, edge),))
    beside = tuple(rollout.Shadow(f"shadow-{version}", f"m@{version}", "xgboost") for version in shadows)
    return Document(epoch, "e", "salt-1", SAMPLING_SALT_ID, unit, (champion, *variants), beside, policy, CHANGED)


def put(store, made):
    """Bring a rollout into force, as the one after that which is; what was written."""
    rollouts = RolloutStore(store)
    try:
        before, etag = rollouts.current()
    except NotStoredError:
        rollouts.write(made, None)
        return made
    made = replace(made, epoch=before.epoch + 1)
    rollouts.write(made, etag)
    return made


def described(files, **changes):
    """The files of a model whose manifest says something else."""
    return {**files, MANIFEST_FILE: to_json(replace(from_json(files[MANIFEST_FILE], "manifest"), **changes))}


def m(version):
    return Version("m", version)
