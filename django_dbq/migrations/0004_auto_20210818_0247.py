"""The workspace becomes JSON."""

from django.db import migrations, models

STATES = ("NEW", "READY", "PROCESSING", "FAILED", "COMPLETE")


class Migration(migrations.Migration):
    dependencies = [("django_dbq", "0003_auto_20180713_1000")]

    operations = [
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
        migrations.AlterField(
            model_name="job", name="workspace", field=models.JSONField(null=True)
        ),
    ]
