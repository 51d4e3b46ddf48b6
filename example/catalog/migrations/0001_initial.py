import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Failure",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("path", models.CharField(max_length=255, unique=True)),
                ("job_id", models.UUIDField()),
                ("task", models.CharField(max_length=100)),
                ("exception", models.CharField(max_length=100)),
                ("message", models.TextField()),
                ("line", models.PositiveIntegerField(null=True)),
                ("column", models.PositiveIntegerField(help_text="Counted from 1.", null=True)),
                (
                    "source",
                    models.TextField(
                        blank=True, help_text="The line of the file that Python objects to."
                    ),
                ),
                ("happened_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "ordering": ["path"],
            },
        ),
        migrations.CreateModel(
            name="Module",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("path", models.CharField(max_length=255, unique=True)),
                ("name", models.CharField(db_index=True, max_length=255)),
                ("is_package", models.BooleanField()),
                ("docstring", models.TextField(help_text="The first paragraph of it.")),
                ("size", models.PositiveIntegerField(help_text="In bytes.")),
                ("lines", models.PositiveIntegerField()),
                ("sha256", models.CharField(max_length=64)),
                ("encoding", models.CharField(max_length=40)),
                ("classes", models.PositiveIntegerField()),
                ("functions", models.PositiveIntegerField(help_text="Methods included.")),
                ("job_id", models.UUIDField(help_text="The job that indexed it.")),
                ("indexed_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "ordering": ["name", "path"],
            },
        ),
        migrations.CreateModel(
            name="Summary",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("job_id", models.UUIDField(unique=True)),
                ("scheduled_for", models.DateTimeField()),
                ("counted_at", models.DateTimeField(auto_now_add=True)),
                ("modules", models.PositiveIntegerField()),
                ("lines", models.PositiveIntegerField()),
                ("classes", models.PositiveIntegerField()),
                ("functions", models.PositiveIntegerField()),
                ("imports", models.PositiveIntegerField()),
                ("failures", models.PositiveIntegerField()),
                (
                    "unfinished",
                    models.PositiveIntegerField(
                        help_text="Modules whose job was not over by then."
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "summaries",
                "ordering": ["-counted_at"],
            },
        ),
        migrations.CreateModel(
            name="Definition",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("class", "Class"),
                            ("function", "Function"),
                            ("method", "Method"),
                        ],
                        max_length=8,
                    ),
                ),
                ("name", models.CharField(max_length=255)),
                ("qualified_name", models.CharField(max_length=500)),
                ("line", models.PositiveIntegerField()),
                (
                    "module",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="definitions",
                        to="catalog.module",
                    ),
                ),
            ],
            options={
                "ordering": ["module", "line"],
            },
        ),
        migrations.CreateModel(
            name="Import",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("target", models.CharField(db_index=True, max_length=255)),
                (
                    "module",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="imports",
                        to="catalog.module",
                    ),
                ),
            ],
            options={
                "ordering": ["target"],
                "constraints": [
                    models.UniqueConstraint(fields=("module", "target"), name="catalog_import_once")
                ],
            },
        ),
    ]
