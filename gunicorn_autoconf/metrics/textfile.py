"""Writes metrics to a file, for node_exporter's textfile collector. Creates and replaces a file."""

from __future__ import annotations

import os
from contextlib import suppress

# Others than the arbiter's user read it.
FILE_MODE = 0o644


def write_text_file(path: str, text: bytes) -> None:
    """
    Write *text* to *path* in one step: a reader sees the old text or the new one.

    The file that is written first lies beside it. Its name does not end in ``.prom``, as the
    collector reads each that does.

    Raises:
        OSError: It cannot be written.
    """
    folder, name = os.path.split(path)
    beside = os.path.join(folder, f".{name}.{os.getpid()}")
    with suppress(FileNotFoundError):  # From a process of this number that was killed.
        os.unlink(beside)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(beside, flags, FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), FILE_MODE)  # Whatever the umask.
            file.write(text)
        os.replace(beside, path)
    except OSError:
        os.unlink(beside)
        raise
