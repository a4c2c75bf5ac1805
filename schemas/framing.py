"""Tell by its first bytes which schema wrote a payload, and read a batch of payloads into columns."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from fastavro.schema import fingerprint, to_parsing_canonical_form
from numpy.typing import NDArray

from schemas.columns import Columns, Reason, windows
from schemas.compile import Decoder, compile_decoder
from schemas.flat import parse
from schemas.json_rows import JsonReader
from schemas.merge import merge
from schemas.sources import SchemaSource

CONFLUENT_MAGIC = b"\x00"
SINGLE_OBJECT_MAGIC = b"\xc3\x01"


class AvroReader:
    """Reads payloads that begin with ``magic`` and the name of their schema, ``width`` bytes in all."""

    __slots__ = ("_decoders", "_find", "_magic", "_padding", "_width")

    def __init__(
        self, magic: bytes, width: int, known: Mapping[bytes, Decoder], find: Callable[[bytes], Decoder | None]
    ) -> None:
        self._magic = np.frombuffer(magic, np.uint8)
        self._width = width
        self._find = find
        self._decoders = dict(known)
        self._padding = max((decoder.padding for decoder in known.values()), default=width)

    @property
    def columnar(self) -> bool:
        """False if a schema met so far has nested fields, which are walked over at the speed of Python."""
        return all(decoder.columnar for decoder in self._decoders.values())

    def read(self, payloads: Sequence[bytes | None]) -> Columns:
        """The columns of a batch of payloads; None is a tombstone.

        Without a single row of a known schema, and none met before, there are no columns but the reasons. Raises
        RegistryUnavailableError if a schema cannot be asked for now, ConfigurationError if one does not do.
        """
        size = len(payloads)
        reason = np.zeros(size, np.uint8)
        padding = bytes(self._padding)
        try:
            joined = b"".join([*payloads, padding])  # type: ignore[list-item]
        except TypeError:
            reason[[payload is None for payload in payloads]] = Reason.MISSING_VALUE
            payloads = [payload or b"" for payload in payloads]
            joined = b"".join([*payloads, padding])  # type: ignore[list-item]
        data = np.frombuffer(joined, np.uint8)
        length = np.fromiter(map(len, payloads), np.int64, size)  # type: ignore[arg-type]
        end = length.cumsum()
        start = end - length
        heads = windows(data, self._width)[start].view(np.uint8).reshape(size, self._width)
        decoder = self._decoders.get(heads[:1].tobytes())
        if decoder is not None and (heads == heads[0]).all() and length.min() >= self._width:
            return decoder.decode(data, start + self._width, end)
        self._check_magic(heads, length, reason)
        return self._decode_groups(data, start + self._width, end, heads, reason)

    def _check_magic(self, heads: NDArray[np.uint8], length: NDArray[np.int64], reason: NDArray[np.uint8]) -> None:
        wrong = (heads[:, : len(self._magic)] != self._magic).any(axis=1)
        if np.count_nonzero(wrong):
            reason[wrong & (length >= len(self._magic)) & (reason == Reason.OK)] = Reason.WRONG_MAGIC
        short = length < self._width
        if np.count_nonzero(short):
            reason[short & (reason == Reason.OK)] = Reason.TRUNCATED

    def _decode_groups(
        self,
        data: NDArray[np.uint8],
        start: NDArray[np.int64],
        end: NDArray[np.int64],
        heads: NDArray[np.uint8],
        reason: NDArray[np.uint8],
    ) -> Columns:
        groups = self._group(heads, reason)
        if len(groups) <= 1:
            decoder = next(iter(groups)) if groups else self._any_decoder()
            return decoder.decode(data, start, end, reason) if decoder else Columns(reason, {})
        parts = [(rows, decoder.decode(data, start[rows], end[rows])) for decoder, rows in groups.items()]
        return merge(parts, reason)

    def _group(self, heads: NDArray[np.uint8], reason: NDArray[np.uint8]) -> dict[Decoder, NDArray[np.int64]]:
        """The rows that each decoder is for; rows of an unknown schema are given their reason."""
        good = np.flatnonzero(reason == Reason.OK)
        names = heads[good].view(f"V{self._width}").ravel().tolist()
        numbers: dict[bytes, int] = {}
        number = np.fromiter((numbers.setdefault(name, len(numbers)) for name in names), np.int64, len(names))
        groups: dict[Decoder, NDArray[np.int64]] = {}
        for name, at in numbers.items():
            rows = good[number == at]
            decoder = self._decoder(name)
            if decoder is None:
                reason[rows] = Reason.UNKNOWN_SCHEMA
            else:
                groups[decoder] = rows
        return groups

    def _decoder(self, head: bytes) -> Decoder | None:
        decoder = self._decoders.get(head)
        if decoder is None:
            decoder = self._find(head)
            if decoder is not None:
                self._decoders[head] = decoder
                self._padding = max(self._padding, decoder.padding)
        return decoder

    def _any_decoder(self) -> Decoder | None:
        return next(iter(self._decoders.values()), None)


RecordReader = AvroReader | JsonReader
"""``read(payloads)`` gives the columns of a batch, one call a batch; ``columnar`` says whether it is fast."""


def confluent(
    schemas: SchemaSource, fields: Collection[str] | None = None, reader: Mapping[str, Any] | None = None
) -> RecordReader:
    """A reader of Confluent's wire format: a zero byte, the schema id in four bytes (big-endian), the Avro value.

    Schemas that are known already are compiled now. With a ``reader`` schema, other versions are resolved to it.
    Raises ConfigurationError if one lacks a field, RegistryUnavailableError if the registry does not answer.
    """
    compiled = partial(compile_decoder, fields=fields, reader=reader)

    def find(head: bytes) -> Decoder | None:
        schema = schemas.schema(int.from_bytes(head[1:]))
        return None if schema is None else compiled(schema)

    known = {confluent_prefix(number): compiled(schema) for number, schema in schemas.known().items()}
    return AvroReader(CONFLUENT_MAGIC, 5, known, find)


def single_object(
    schemas: Sequence[Mapping[str, Any]], fields: Collection[str] | None = None, reader: Mapping[str, Any] | None = None
) -> RecordReader:
    """A reader of Avro's single-object encoding (Avro 1.12): C3 01, the schema's fingerprint, the value.

    Raises ConfigurationError if a schema lacks a field.
    """
    known = {single_object_prefix(schema): compile_decoder(schema, fields, reader) for schema in schemas}
    return AvroReader(SINGLE_OBJECT_MAGIC, 10, known, lambda _head: None)


def json(schema: Mapping[str, Any], fields: Collection[str] | None = None, apart: Collection[str] = ()) -> RecordReader:
    """A reader of JSON objects with the fields and types of an Avro schema; see :class:`JsonReader`."""
    return JsonReader(parse(schema), fields, apart)


def confluent_prefix(schema_id: int) -> bytes:
    """What stands before an Avro value in Confluent's wire format."""
    return CONFLUENT_MAGIC + schema_id.to_bytes(4)


def single_object_prefix(schema: Mapping[str, Any]) -> bytes:
    """What stands before an Avro value in single-object encoding: CRC-64-AVRO of the Parsing Canonical Form."""
    parse(schema)
    digest = fingerprint(to_parsing_canonical_form(dict(schema)), "CRC-64-AVRO")
    return SINGLE_OBJECT_MAGIC + bytes.fromhex(digest)
