"""Everything on one machine: a broker, a worker, transactions that the model has never seen, and a reader who counts."""
