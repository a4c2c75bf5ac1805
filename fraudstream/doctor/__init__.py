"""Look at everything that a worker needs, and say what is wrong and how to mend it."""
