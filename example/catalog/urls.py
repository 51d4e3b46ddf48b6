from __future__ import annotations

from django.urls import path

from example.catalog import views

app_name = "catalog"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("modules/", views.modules, name="modules"),
    path("modules/<path:path>", views.module, name="module"),
    path("search/", views.search, name="search"),
    path("failures/", views.failures, name="failures"),
    path("queue/", views.queue, name="queue"),
    path("index-again/<path:path>", views.index_again, name="index_again"),
]
