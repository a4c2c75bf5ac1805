"""A real schema registry on this machine, from its own jars."""
