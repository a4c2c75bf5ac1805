"""Let the worker decide mutated records by the million, and name the one that it does not survive."""
