from bench import record
from django.tasks import task


@task
def noop():
    pass


@task
def single(sent):
    record(sent)
