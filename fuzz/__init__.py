"""A coverage-guided fuzzer for what reads text that others have written: ``python -m fuzz``."""
