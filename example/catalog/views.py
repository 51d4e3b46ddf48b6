"""The pages: what was found, what failed, and how the queue is doing."""

from __future__ import annotations

import sysconfig

from django.conf import settings
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from django_dbq.models import Job
from example.catalog import index, queries
from example.catalog.models import Definition, Failure, Module, Summary

ON_A_PAGE = 50
TOP = 10


@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    biggest = list(queries.biggest_modules(TOP))
    imported = queries.most_imported(TOP)
    defined = list(queries.most_defined(TOP))
    return _page(
        request,
        "overview",
        totals=queries.totals(),
        summary=Summary.objects.first(),
        biggest=biggest,
        most_lines=biggest[0].lines if biggest else 0,
        imported=imported,
        most_importers=imported[0]["importers"] if imported else 0,
        defined=defined,
        most_times=defined[0]["times"] if defined else 0,
        first_failures=Failure.objects.all()[:5],
        queue=queries.queue_state(),
    )


@require_safe
def modules(request: HttpRequest) -> HttpResponse:
    sort = request.GET.get("sort")
    sort = sort if sort in queries.SORTS else "name"
    found = Module.objects.order_by(*queries.SORTS[sort])
    page = Paginator(found, ON_A_PAGE).get_page(request.GET.get("page"))
    return _page(request, "modules", page=page, sort=sort, sorts=list(queries.SORTS))


@require_safe
def module(request: HttpRequest, path: str) -> HttpResponse:
    found = get_object_or_404(Module, path=path)
    return _page(
        request,
        "module",
        module=found,
        definitions=found.definitions.order_by("line", "pk"),
        imports=queries.imports_of(found),
        importers=queries.importers_of(found),
        job=Job.objects.filter(pk=found.job_id).first(),
    )


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    text = request.GET.get("q", "").replace("\0", "").strip()[:100]
    found_modules = queries.modules_named(text) if text else Module.objects.none()
    definitions = queries.definitions_named(text) if text else Definition.objects.none()
    return _page(
        request,
        "search",
        text=text,
        modules=found_modules[:ON_A_PAGE],
        module_count=found_modules.count(),
        definitions=definitions[:ON_A_PAGE],
        definition_count=definitions.count(),
        limit=ON_A_PAGE,
    )


@require_safe
def failures(request: HttpRequest) -> HttpResponse:
    found = Failure.objects.all()
    page = Paginator(found, ON_A_PAGE).get_page(request.GET.get("page"))
    attempts = queries.attempts_of(list(page))
    stories = [(failure, attempts.get(failure.job_id)) for failure in page]
    return _page(
        request,
        "failures",
        page=page,
        stories=stories,
        is_standard_library=str(settings.LIBRARY) == sysconfig.get_path("stdlib"),
    )


@require_safe
def queue(request: HttpRequest) -> HttpResponse:
    state = queries.queue_state()
    return _page(
        request,
        "queue",
        queue=state,
        workers=queries.workers(),
        next_jobs=queries.next_jobs(TOP),
        last_jobs=queries.last_jobs(TOP),
        refresh_seconds=2 if state.unfinished else None,
    )


@require_POST
def index_again(request: HttpRequest, path: str) -> HttpResponse:
    """Enqueue the job of one file that is in the index, or among the failures."""
    if not Module.objects.filter(path=path).exists():
        get_object_or_404(Failure, path=path)
    index.enqueue_module(path)
    return HttpResponseRedirect(reverse("catalog:queue"))


def _page(request: HttpRequest, name: str, **context: object) -> HttpResponse:
    context.update(page_name=name, failure_count=Failure.objects.count())
    return render(request, f"catalog/{name}.html", context)
