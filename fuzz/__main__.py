"""
Fuzzes one target: ``python -m fuzz source -max_total_time=60``. Needs the extra ``fuzz``.

What follows the target's name goes to libFuzzer, which ends only with its process: that one gets a
folder to work in, and this one takes it away. An input that fails is left in the current directory.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz.targets import TARGETS

TOP = Path(__file__).parents[1]


def main() -> int:
    """Run the target that the command line names; return libFuzzer's exit status."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m fuzz {{{','.join(TARGETS)}}} [libFuzzer's options]")
    name, *options = sys.argv[1:]
    artifacts = f"-artifact_prefix={Path.cwd()}{os.sep}"
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(TARGETS[name].seeds()):
            (corpus / f"seed-{number}").write_bytes(seed)
        return subprocess.run(
            [sys.executable, "-m", "fuzz.harness", name, artifacts, *options, str(corpus)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(TOP)},
            check=False,
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
