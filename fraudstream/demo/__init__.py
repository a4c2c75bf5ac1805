"""Everything on one machine: a broker, a worker, transactions new to the model, and a reader who counts."""
