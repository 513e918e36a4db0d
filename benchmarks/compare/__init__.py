"""This package against what people use instead: ``python -m benchmarks.compare``."""
