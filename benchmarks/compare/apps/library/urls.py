"""A page of books, one book, and a search that the database has to work for."""

from django.db.models import Avg, Count
from django.http import JsonResponse
from django.shortcuts import render
from django.urls import path

from library.models import Book

PAGE = 20


def books(request):
    number = int(request.GET.get("page", 1))
    found = Book.objects.select_related("author").annotate(loans_count=Count("loans"))
    page = found.order_by("id")[(number - 1) * PAGE : number * PAGE]
    return render(request, "library/books.html", {"books": page, "number": number})


def book(request, pk):
    found = Book.objects.select_related("author").get(pk=pk)
    days = found.loans.aggregate(Avg("days"))["days__avg"]
    return JsonResponse({"title": found.title, "author": found.author.name, "days": days})


def search(request):
    """No index helps with a text in the middle: the database reads every title."""
    words = request.GET.get("q", "")
    found = Book.objects.filter(title__icontains=words).select_related("author")[:PAGE]
    return JsonResponse({"books": [[each.title, each.author.name] for each in found]})


urlpatterns = [path("books", books), path("books/<int:pk>", book), path("search", search)]
