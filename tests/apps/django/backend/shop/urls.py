"""A form that takes orders, and what the toolkit asks."""

import os

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import path

from shop.models import Order


def orders(request: HttpRequest) -> HttpResponse:
    """Take an order, or show the form with those that there are."""
    if request.method == "POST":
        Order.objects.create(title=request.POST["title"])
        return redirect("/")
    return render(request, "orders.html", {"titles": Order.objects.values_list("title", flat=True)})


def health(request: HttpRequest) -> HttpResponse:
    """Healthy is who reaches the database."""
    return HttpResponse(f"{Order.objects.count()} orders")


def version(request: HttpRequest) -> HttpResponse:
    """Say which release this is."""
    return JsonResponse({"release": os.environ.get("RELEASE", "")})


urlpatterns = [path("", orders), path("health", health), path("version", version)]
