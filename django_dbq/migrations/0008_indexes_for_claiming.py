"""The indexes that version 4 lives on, built while the table is in use.

Needs no transaction, and can be run again after it was interrupted.
"""

from django.db import migrations

from django_dbq.migrations._online import AddIndexOnline
from django_dbq.models.indexes import HeldIndex, ReadyIndex, ScheduledIndex, UniqueIndex


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("django_dbq", "0007_workers_attempts_and_columns")]

    operations = [
        AddIndexOnline(model_name="job", index=ReadyIndex(name="dbq_ready")),
        AddIndexOnline(model_name="job", index=ScheduledIndex(name="dbq_scheduled")),
        AddIndexOnline(model_name="job", index=HeldIndex(name="dbq_held")),
        AddIndexOnline(model_name="job", index=UniqueIndex(name="dbq_unique")),
    ]
