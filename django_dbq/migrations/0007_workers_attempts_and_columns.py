"""What version 4 knows of a job: its owner, its token, its attempts.

Every new column may be NULL or has a default in the database, so that 3.3 processes go on inserting
and running jobs on this schema.

Locks: PostgreSQL takes a brief ACCESS EXCLUSIVE lock and rewrites nothing, and gives up when a long
transaction keeps it from that lock for five seconds; MariaDB and MySQL 8 add
columns instantly; SQLite alters in place.
"""

from django.db import migrations, models

import django_dbq.rules.identifiers
from django_dbq.migrations._online import (
    AddFieldWithDatabaseDefault,
    AddNullableField,
    WaitForLocksAtMost,
    WidenField,
)

STATES = ("NEW", "READY", "PROCESSING", "STOPPING", "FAILED", "COMPLETE", "CANCELLED")


class Migration(migrations.Migration):
    dependencies = [("django_dbq", "0006_alter_job_state")]

    operations = [
        WaitForLocksAtMost(seconds=5),
        migrations.CreateModel(
            name="WorkerProcess",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("hostname", models.CharField(max_length=255)),
                ("pid", models.IntegerField()),
                (
                    "queues",
                    models.JSONField(default=list, help_text="The queues it serves, in order."),
                ),
                (
                    "threads",
                    models.SmallIntegerField(
                        default=1, help_text="How many jobs it runs at a time."
                    ),
                ),
                (
                    "session",
                    models.CharField(
                        default="",
                        help_text="What tells others at once that its supervisor is gone; empty: "
                        "heartbeats alone.",
                        max_length=200,
                    ),
                ),
                ("started_at", models.DateTimeField()),
                (
                    "last_seen",
                    models.DateTimeField(help_text="Its last heartbeat, on the database's clock."),
                ),
                (
                    "parked_at",
                    models.DateTimeField(
                        help_text="Since when it sleeps until somebody rings; empty: it looks by "
                        "itself.",
                        null=True,
                    ),
                ),
            ],
            options={"verbose_name": "worker"},
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("job_id", models.UUIDField(db_index=True)),
                ("job_name", models.CharField(max_length=255)),
                (
                    "task",
                    models.CharField(
                        help_text="Dotted path of the task that was tried.", max_length=255
                    ),
                ),
                (
                    "number",
                    models.IntegerField(help_text="1 for the first try at this task."),
                ),
                (
                    "exception",
                    models.CharField(help_text="Dotted path of its class.", max_length=255),
                ),
                ("message", models.TextField(blank=True)),
                ("traceback", models.TextField(blank=True)),
                (
                    "worker",
                    models.CharField(blank=True, help_text="Host and process id.", max_length=255),
                ),
                ("worker_id", models.BigIntegerField(null=True)),
                ("started_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField()),
            ],
            options={"verbose_name": "failed attempt", "ordering": ("id",)},
        ),
        # New ids are ordered in time; nothing changes in the table.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name="job",
                    name="id",
                    field=models.UUIDField(
                        default=django_dbq.rules.identifiers.uuid7,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                migrations.AlterField(
                    model_name="job",
                    name="state",
                    field=models.CharField(
                        max_length=20,
                        choices=[(state, state.capitalize()) for state in STATES],
                        default="NEW",
                        db_index=True,
                    ),
                ),
            ]
        ),
        # The path of a Django task, and its queue, may be longer than 3.3's names.
        WidenField(model_name="job", name="name", field=models.CharField(max_length=255)),
        WidenField(
            model_name="job",
            name="next_task",
            field=models.CharField(max_length=255, blank=True),
        ),
        WidenField(
            model_name="job",
            name="queue_name",
            field=models.CharField(max_length=60, default="default", db_index=True),
        ),
        AddFieldWithDatabaseDefault(
            model_name="job",
            name="token",
            field=models.IntegerField(
                default=0,
                help_text="Grows with each claim and release; each write of a held job names it.",
            ),
        ),
        AddFieldWithDatabaseDefault(
            model_name="job",
            name="attempts",
            field=models.IntegerField(default=0, help_text="Tries at the current task so far."),
        ),
        AddFieldWithDatabaseDefault(
            model_name="job",
            name="crashes",
            field=models.IntegerField(
                default=0, help_text="How many workers died while they ran this job."
            ),
        ),
        AddNullableField(
            model_name="job",
            name="worker_id",
            field=models.BigIntegerField(help_text="The worker that holds or held it.", null=True),
        ),
        AddNullableField(
            model_name="job",
            name="started_at",
            field=models.DateTimeField(help_text="When a worker first took it.", null=True),
        ),
        AddNullableField(
            model_name="job",
            name="finished_at",
            field=models.DateTimeField(null=True),
        ),
        AddNullableField(
            model_name="job",
            name="task_index",
            field=models.SmallIntegerField(
                help_text="The place of next_task in the job's list of tasks.", null=True
            ),
        ),
        AddNullableField(
            model_name="job",
            name="is_due",
            field=models.BooleanField(
                help_text="True once a worker has seen run_after pass; empty before.", null=True
            ),
        ),
        AddNullableField(
            model_name="job",
            name="cancel_requested_at",
            field=models.DateTimeField(
                help_text="When somebody cancelled it while a worker held it.", null=True
            ),
        ),
        AddNullableField(
            model_name="job",
            name="cancel_reason",
            field=models.TextField(null=True),
        ),
        AddNullableField(
            model_name="job",
            name="killed_at",
            field=models.DateTimeField(
                help_text="When its worker was killed because the task overran its timeout.",
                null=True,
            ),
        ),
        AddNullableField(
            model_name="job",
            name="last_attempted_at",
            field=models.DateTimeField(help_text="When a worker last took it.", null=True),
        ),
        AddNullableField(
            model_name="job",
            name="backend",
            field=models.CharField(
                help_text="The alias in settings.TASKS of a Django task; empty for a job of JOBS.",
                max_length=60,
                null=True,
            ),
        ),
        AddNullableField(
            model_name="job",
            name="result",
            field=models.JSONField(help_text="What its last task has returned.", null=True),
        ),
        AddNullableField(
            model_name="job",
            name="unique_key",
            field=models.CharField(
                help_text="No two jobs that have not ended have the same; empty: not unique.",
                max_length=64,
                null=True,
            ),
        ),
        AddNullableField(
            model_name="job",
            name="gate",
            field=models.SmallIntegerField(
                help_text="Why the job may not run yet; empty when nothing is in its way.",
                null=True,
            ),
        ),
        AddNullableField(
            model_name="job",
            name="concurrency_key",
            field=models.CharField(max_length=100, null=True),
        ),
        AddNullableField(
            model_name="job",
            name="group_id",
            field=models.UUIDField(null=True),
        ),
    ]
