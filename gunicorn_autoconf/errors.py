"""The errors that a caller of gunicorn-autoconf can act on. Pure."""

from __future__ import annotations

__all__ = ["AutoconfError", "DeclarationError", "MalformedFileError"]


class AutoconfError(Exception):
    """The base of every error that this package raises on purpose."""


class DeclarationError(AutoconfError):
    """
    A declared value cannot be used.

    Attributes:
        name: The variable, option or argument as the user wrote it, such as ``GUNICORN_CPUS``.
        value: The text that was given.
        remedy: What is allowed instead, one phrase.
    """

    def __init__(self, name: str, value: str, remedy: str) -> None:
        super().__init__(f"{name}={value!r}: {remedy}")
        self.name = name
        self.value = value
        self.remedy = remedy


class MalformedFileError(AutoconfError, ValueError):
    """
    A kernel file does not have the form that its documentation gives.

    Attributes:
        text: The raw text, shortened to 80 characters.
    """

    def __init__(self, expected: str, text: str) -> None:
        shown = text.strip()
        self.text = shown if len(shown) <= 80 else shown[:77] + "..."
        super().__init__(f"expected {expected}, found {self.text!r}")
