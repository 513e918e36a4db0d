# target: app:app -> unknown
# evidence: async def app(*args) at app.py:7 could be either
from nowhere import inner


# It may pass all of a request on.
async def app(*args):
    await inner(*args)
