"""One page: the visitor's session, twenty rows, a template."""

from django.shortcuts import render
from django.urls import path

from .models import Item

SHOWN = 20


def items(request):
    context = {
        "visitor": request.session.get("visitor", "nobody"),
        "items": Item.objects.order_by("-price_cents")[:SHOWN],
    }
    return render(request, "items.html", context)


urlpatterns = [path("", items)]
