"""The process that is fuzzed: a target's name, libFuzzer's options, the folder of the corpus."""

import sys

import atheris

with atheris.instrument_imports(include=["gunicorn_autoconf"]):
    from fuzz.targets import TARGETS

atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]].run)
atheris.Fuzz()
