"""Lay decisions out as a table of Arrow, with the fields that ``decision.avsc`` gives the topic, for data sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray

from schemas.arrow import string_array
from schemas.decision import Decisions, Lineage, Outcome, ReasonCode, decision_ids

_WORD = pa.dictionary(pa.int8(), pa.string())
"""A string of which there are few: Parquet keeps each once."""
_TIME = pa.timestamp("ms", "UTC")
_MISSING = ("fallback_reason", "replay", "invoked_variant", "invocation_seconds")


def _fields(types: Mapping[str, pa.DataType]) -> list[pa.Field]:
    """Fields that are always there, but for those that may be missing: Parquet has to note nothing of them."""
    return [pa.field(name, kind, nullable=name in _MISSING) for name, kind in types.items()]


def _record(types: Mapping[str, pa.DataType]) -> pa.StructType:
    return pa.struct(_fields(types))


_REASON = _record({"feature": pa.string(), "contribution": pa.float64()})

SCHEMA = pa.schema(
    _fields(
        {
            "decision_id": pa.uuid(),
            "transaction_id": pa.string(),
            "unit": pa.string(),
            "source": _record({"topic": _WORD, "partition": pa.int32(), "offset": pa.int64()}),
            "event_time": _TIME,
            "decided_at": _TIME,
            "score": pa.float64(),
            "decision": _WORD,
            "policy": _record({"version": _WORD, "review_at": pa.float64(), "decline_at": pa.float64()}),
            "model": _record({"name": _WORD, "version": _WORD, "sha256": _WORD, "backend": _WORD}),
            "experiment": _record(
                {
                    "id": _WORD,
                    "epoch": pa.int32(),
                    "variant": _WORD,
                    "bucket": pa.int32(),
                    "salt_id": _WORD,
                    "probability": pa.float64(),
                }
            ),
            "degraded": pa.bool_(),
            "fallback_reason": _WORD,
            "replay": _WORD,
            "reason_codes": pa.list_(pa.field("element", _REASON, nullable=False)),
            "invoked_variant": _WORD,
            "invocation_seconds": pa.float64(),
        }
    )
)
"""All fields of a decision but the shadows, which nothing runs over a data set, and what it duplicates."""

REPEATED = [
    *("source.topic", "source.partition", "decided_at", "decision", "degraded", "fallback_reason", "replay"),
    *("invoked_variant", "invocation_seconds"),
    *("policy.version", "policy.review_at", "policy.decline_at"),
    *("model.name", "model.version", "model.sha256", "model.backend"),
    *("experiment.id", "experiment.epoch", "experiment.variant", "experiment.salt_id", "experiment.probability"),
    "reason_codes.list.element.feature",
]
"""Columns of few values, by their Parquet paths: a dictionary pays for them, and for no others."""


def decision_batch(decisions: Decisions) -> pa.RecordBatch:
    """The decisions in order, as ``SCHEMA`` says."""
    count, variant = len(decisions), _Variants(decisions.lineages, decisions.variant)
    ids = pa.Array.from_buffers(pa.binary(16), count, [None, pa.py_buffer(decision_ids(decisions))])
    columns = {
        "decision_id": pa.ExtensionArray.from_storage(pa.uuid(), ids),
        "transaction_id": string_array(decisions.transaction_id),
        "unit": string_array(decisions.unit),
        "source": _struct(
            topic=_same(decisions.topic, count),
            partition=pa.array(decisions.partition),
            offset=pa.array(decisions.offset),
        ),
        "event_time": pa.array(decisions.event_time).view(_TIME),
        "decided_at": pa.array(np.full(count, decisions.decided_at)).view(_TIME),
        "score": pa.array(decisions.score),
        "decision": _words([outcome.name.lower() for outcome in Outcome], decisions.outcome),
        "policy": _struct(
            version=variant.words("policy_version"),
            review_at=variant.numbers("review_at"),
            decline_at=variant.numbers("decline_at"),
        ),
        "model": _struct(
            name=variant.words("model_name"),
            version=variant.words("model_version"),
            sha256=_words([lineage.model_sha256.hex() for lineage in decisions.lineages], decisions.variant),
            backend=variant.words("backend"),
        ),
        "experiment": _struct(
            id=variant.words("experiment_id"),
            epoch=variant.numbers("epoch", np.int32),
            variant=variant.words("variant"),
            bucket=pa.array(decisions.bucket.astype(np.int32)),
            salt_id=variant.words("salt_id"),
            probability=variant.numbers("probability"),
        ),
        "degraded": pa.array(
            np.array([lineage.fallback_reason is not None for lineage in decisions.lineages])[decisions.variant]
        ),
        "fallback_reason": variant.words("fallback_reason"),
        "replay": _same(decisions.replay, count),
        "reason_codes": _reason_codes(decisions),
        **_invocations(decisions),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=SCHEMA)


@dataclass(frozen=True, slots=True)
class _Variants:
    """What the rows of each variant have in common, laid out over the rows."""

    lineages: Sequence[Lineage]
    variant: NDArray[np.uint8]

    def words(self, name: str) -> pa.DictionaryArray:
        return _words([getattr(lineage, name) for lineage in self.lineages], self.variant)

    def numbers(self, name: str, dtype: DTypeLike = np.float64) -> pa.Array:
        return pa.array(np.array([getattr(lineage, name) for lineage in self.lineages], dtype)[self.variant])


def _words(words: Sequence[str | None], index: NDArray[np.integer]) -> pa.DictionaryArray:
    """The word of each row; a word that stands twice is kept once, as Parquet demands."""
    distinct = [word for word in dict.fromkeys(words) if word is not None]
    places = np.array([-1 if word is None else distinct.index(word) for word in words], np.int8)[index]
    mask = places < 0 if None in words else None  # Arrow copies where there is a mask
    return pa.DictionaryArray.from_arrays(pa.array(places, mask=mask), pa.array(distinct, pa.string()))


def _same(word: str | None, count: int) -> pa.DictionaryArray:
    return _words([word], np.zeros(count, np.uint8))


def _struct(**fields: pa.Array) -> pa.StructArray:
    kinds = _fields({name: array.type for name, array in fields.items()})
    return pa.StructArray.from_arrays(list(fields.values()), fields=kinds)


def _invocations(decisions: Decisions) -> dict[str, pa.Array]:
    """The request of each row; -1, which stands for none, is the last place of a list that ends with nothing."""
    invoked = np.full(len(decisions), -1, np.int16) if decisions.invoked is None else decisions.invoked
    seconds = np.array([*(each.seconds for each in decisions.invocations), np.nan])[invoked]
    return {
        "invoked_variant": _words([*(each.variant for each in decisions.invocations), None], invoked),
        "invocation_seconds": pa.array(seconds, from_pandas=True),
    }


def _reason_codes(decisions: Decisions) -> pa.ListArray:
    counts = np.zeros(len(decisions) + 1, np.int32)
    codes: list[ReasonCode] = []
    for row, given in sorted(decisions.reasons.items()):
        counts[row + 1] = len(given)
        codes += given
    items = _struct(
        feature=pa.array([code.feature for code in codes], pa.string()),
        contribution=pa.array([code.contribution for code in codes], pa.float64()),
    )
    kind = SCHEMA.field("reason_codes").type
    return pa.ListArray.from_arrays(pa.array(np.cumsum(counts, dtype=np.int32)), items, kind)
