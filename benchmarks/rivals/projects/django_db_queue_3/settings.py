from django_settings import *  # noqa: F403

INSTALLED_APPS = ["django_dbq"]
JOBS = {"noop": {"tasks": ["tasks.noop"]}, "single": {"tasks": ["tasks.single"]}}
