"""The text of one file of the kernel's, within a bound on its size. Reads files."""

from __future__ import annotations

import os

from gunicorn_autoconf.errors import MalformedFileError

# The longest of the kernel's files, mountinfo, takes about 200 bytes a mount: room for 20,000.
MAX_FILE_BYTES = 4 * 1024 * 1024
CHUNK_BYTES = 64 * 1024


def read_text(path: str) -> str:
    """
    Return what the file *path* holds.

    Raises:
        OSError: It cannot be read.
        MalformedFileError: It is longer than any file of the kernel.
    """
    # O_NONBLOCK: a named pipe in the place of a file must not hold up the start.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        content = bytearray()  # procfs hands out 4 KiB at a time: a thousand pieces
        while chunk := os.read(descriptor, CHUNK_BYTES):  # procfs may hand out less
            content += chunk
            if len(content) > MAX_FILE_BYTES:
                raise MalformedFileError(
                    f"at most {MAX_FILE_BYTES} bytes", os.fsdecode(bytes(content))
                )
    finally:
        os.close(descriptor)
    return os.fsdecode(bytes(content))
