"""A FastAPI application: a body checked by pydantic, an answer made by it."""

from fastapi import FastAPI
from pydantic import BaseModel, Field

app = FastAPI()


class Line(BaseModel):
    name: str = Field(min_length=1, max_length=80)
    price_cents: int = Field(ge=0)
    quantity: int = Field(default=1, ge=1, le=1000)
    tags: list[str] = []


class Order(BaseModel):
    customer: str
    lines: list[Line]


class Receipt(BaseModel):
    customer: str
    total_cents: int
    lines: list[Line]


@app.post("/orders")
async def order(placed: Order) -> Receipt:
    total_cents = sum(line.price_cents * line.quantity for line in placed.lines)
    return Receipt(customer=placed.customer, total_cents=total_cents, lines=placed.lines)
