"""What the arbiter knows of its workers: the shared page, their records, samples of them."""
