"""What people use instead, and this package, side by side: ``python -m benchmarks.compare``."""
