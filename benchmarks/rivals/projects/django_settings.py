"""What the settings of all Django projects begin with. Copied beside them."""

import os

SECRET_KEY = "no secret: this project exists while it is measured"  # noqa: S105
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["PGDATABASE"],
        "USER": os.environ["PGUSER"],
        "PASSWORD": os.environ["PGPASSWORD"],
        "HOST": os.environ["PGHOST"],
        "PORT": os.environ["PGPORT"],
        # Django's default is a new connection for each request; None keeps it.
        "CONN_MAX_AGE": None if "KEEP_CONNECTIONS" in os.environ else 0,
    }
}
