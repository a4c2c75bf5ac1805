"""Data sets through the decisions of the stream: ``fraudstream batch``."""
