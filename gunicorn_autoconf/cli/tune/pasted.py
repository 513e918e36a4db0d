"""The best candidate in a form to paste, with what belongs to it. Reads the machine."""

from __future__ import annotations

from gunicorn_autoconf.cli.options import by_flag, declared_texts
from gunicorn_autoconf.cli.paste import Content, Pasted, render
from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.cli.tune.session import Session
from gunicorn_autoconf.plan.variables import PREFIX
from gunicorn_autoconf.server.autoconf import build
from gunicorn_autoconf.server.gunicorn import spellings


def paste(form: str, session: Session, best: Candidate) -> Pasted:
    """
    Return *best* in one of the forms of `cli.paste`.

    The plan is made once more with it: timeouts and the like follow from class and counts.
    """
    environ = dict(session.environ)
    chosen = {PREFIX + name.upper(): str(value) for name, value in best.settings.items()}
    declared, argv = session.asked.declared, ["gunicorn", *session.target]
    result = build(by_flag(declared), environ | chosen, argv, "/")
    parts = (result.machine, result.declaration, result.plan)
    return render(form, Content(*parts, declared_texts(declared, environ), spellings()))
