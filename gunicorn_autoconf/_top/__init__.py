"""
The live view of a running Gunicorn, whoever configured it.

    _arbiters   which processes are arbiters, which of their children are workers
    _sample     arbiter -> ServerSample: one look at its processes and at the limit above them
    _view       samples -> View: CPU shares, growth, the past of each worker
    _screen     View -> lines of a given width
    _terminal   lines -> terminal, keys -> order; the only one that needs rich
"""
