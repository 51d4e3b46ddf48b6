"""The pages are all of the catalog."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("", include("example.catalog.urls"))]
