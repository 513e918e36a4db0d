"""A shop of three things."""

import asyncio

from fastapi import FastAPI, HTTPException

app = FastAPI()

PRICES = {"apple": 30, "bread": 220, "cheese": 480}


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that this worker answers; ask nothing of a database that all workers share."""
    return {"status": "ok"}


@app.get("/price/{thing}")
async def price(thing: str) -> dict[str, int]:
    """Return a price in cents."""
    await asyncio.sleep(0.01)  # Where a real shop waits for its database.
    if thing not in PRICES:
        raise HTTPException(status_code=404, detail=f"no {thing} here")
    return {"cents": PRICES[thing]}


@app.get("/total")
def total() -> dict[str, int]:
    """Return the price of everything; FastAPI runs a plain `def` in a pool of threads."""
    return {"cents": sum(PRICES.values())}
