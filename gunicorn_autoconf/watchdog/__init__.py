"""What is stuck in a worker, and since when."""
