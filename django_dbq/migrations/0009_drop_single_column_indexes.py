"""3.3's five single-column indexes cost more than everything else that a job does.

3.3 workers run without them, only slower: on a table of millions of rows, apply this one when the
last of them has been replaced (`migrate django_dbq 0008` first).
"""

from django.db import migrations, models

from django_dbq.migrations._online import DropFieldIndexOnline

STATES = ("NEW", "READY", "PROCESSING", "STOPPING", "FAILED", "COMPLETE", "CANCELLED")


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("django_dbq", "0008_indexes_for_claiming")]

    operations = [
        DropFieldIndexOnline(
            model_name="job", name="created", field=models.DateTimeField(auto_now_add=True)
        ),
        DropFieldIndexOnline(
            model_name="job",
            name="state",
            field=models.CharField(
                max_length=20,
                choices=[(state, state.capitalize()) for state in STATES],
                default="NEW",
            ),
        ),
        DropFieldIndexOnline(
            model_name="job",
            name="queue_name",
            field=models.CharField(max_length=60, default="default"),
        ),
        DropFieldIndexOnline(
            model_name="job", name="priority", field=models.SmallIntegerField(default=0)
        ),
        DropFieldIndexOnline(
            model_name="job", name="run_after", field=models.DateTimeField(null=True)
        ),
    ]
