"""A TCP proxy that misbehaves when it is told to, as networks do."""
