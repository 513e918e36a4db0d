"""A shop of three things."""

from flask import Flask, abort

PRICES = {"apple": 30, "bread": 220, "cheese": 480}


def create_app() -> Flask:
    """Return the application; Gunicorn calls this once in each worker."""
    app = Flask(__name__)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        """Say that this worker answers; ask nothing of a database that all workers share."""
        return {"status": "ok"}

    @app.get("/price/<thing>")
    def price(thing: str) -> dict[str, int]:
        """Return a price in cents."""
        if thing not in PRICES:
            abort(404)
        return {"cents": PRICES[thing]}

    return app
