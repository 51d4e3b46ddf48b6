"""What was found, and what could not be read."""

from __future__ import annotations

from django.db import models
from django.urls import reverse


class Module(models.Model):
    """One file of the library, as its job last saw it."""

    path = models.CharField(max_length=255, unique=True)
    name = models.CharField(max_length=255, db_index=True)
    is_package = models.BooleanField()
    docstring = models.TextField(help_text="The first paragraph of it.")
    size = models.PositiveIntegerField(help_text="In bytes.")
    lines = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)
    encoding = models.CharField(max_length=40)
    classes = models.PositiveIntegerField()
    functions = models.PositiveIntegerField(help_text="Methods included.")
    job_id = models.UUIDField(help_text="The job that indexed it.")
    indexed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name", "path"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("catalog:module", args=[self.path])


class Definition(models.Model):
    """A class, function or method, and where it starts."""

    class Kind(models.TextChoices):
        CLASS = "class"
        FUNCTION = "function"
        METHOD = "method"

    module = models.ForeignKey(Module, on_delete=models.CASCADE, related_name="definitions")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    name = models.CharField(max_length=255)
    qualified_name = models.CharField(max_length=500)
    line = models.PositiveIntegerField()

    class Meta:
        ordering = ["module", "line"]

    def __str__(self) -> str:
        return self.qualified_name


class Import(models.Model):
    """A module that another one imports, whether the library has it or not."""

    module = models.ForeignKey(Module, on_delete=models.CASCADE, related_name="imports")
    target = models.CharField(max_length=255, db_index=True)

    class Meta:
        ordering = ["target"]
        constraints = [
            models.UniqueConstraint(fields=["module", "target"], name="catalog_import_once"),
        ]

    def __str__(self) -> str:
        return self.target


class Failure(models.Model):
    """The story of a module that could not be indexed, told by the failure hook of its job."""

    path = models.CharField(max_length=255, unique=True)
    job_id = models.UUIDField()
    task = models.CharField(max_length=100)
    exception = models.CharField(max_length=100)
    message = models.TextField()
    line = models.PositiveIntegerField(null=True)
    column = models.PositiveIntegerField(null=True, help_text="Counted from 1.")
    source = models.TextField(blank=True, help_text="The line of the file that Python objects to.")
    happened_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["path"]

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"

    @property
    def source_around_column(self) -> tuple[str, str, str]:
        """The source line in three parts, the middle one being the character at `column`."""
        place = self.column - 1 if self.column else len(self.source)
        return self.source[:place], self.source[place : place + 1], self.source[place + 1 :]


class Summary(models.Model):
    """What the index held when a scheduled job counted it."""

    job_id = models.UUIDField(unique=True)
    scheduled_for = models.DateTimeField()
    counted_at = models.DateTimeField(auto_now_add=True)
    modules = models.PositiveIntegerField()
    lines = models.PositiveIntegerField()
    classes = models.PositiveIntegerField()
    functions = models.PositiveIntegerField()
    imports = models.PositiveIntegerField()
    failures = models.PositiveIntegerField()
    unfinished = models.PositiveIntegerField(help_text="Modules whose job was not over by then.")

    class Meta:
        verbose_name_plural = "summaries"
        ordering = ["-counted_at"]

    def __str__(self) -> str:
        return f"{self.modules} modules, {self.failures} failures"
