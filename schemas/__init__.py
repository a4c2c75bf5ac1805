"""The contracts on the wire: schemas, framing, columns."""
