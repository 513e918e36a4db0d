"""A shop of three things."""

import asyncio

from django.http import Http404, HttpRequest, JsonResponse

PRICES = {"apple": 30, "bread": 220, "cheese": 480}


def healthz(request: HttpRequest) -> JsonResponse:
    """Say that this worker answers; ask nothing of a database that all workers share."""
    return JsonResponse({"status": "ok"})


def price(request: HttpRequest, thing: str) -> JsonResponse:
    """Return a price in cents."""
    if thing not in PRICES:
        raise Http404(f"no {thing} here")
    return JsonResponse({"cents": PRICES[thing]})


async def rates(request: HttpRequest) -> JsonResponse:
    """Return rates of exchange; worth an event loop where the wait is for somebody else."""
    await asyncio.sleep(0.01)  # Where a real shop asks a bank.
    return JsonResponse({"EUR": 1, "USD": 1.1})
