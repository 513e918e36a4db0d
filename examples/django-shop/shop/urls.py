"""What is answered where."""

from django.urls import path

from shop import views

urlpatterns = [
    path("healthz", views.healthz),
    path("price/<slug:thing>", views.price),
    path("rates", views.rates),
]
