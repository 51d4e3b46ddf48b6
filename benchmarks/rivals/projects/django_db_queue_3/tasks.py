from bench import record


def noop(job):
    pass


def started(job):
    record(job.workspace["sent"])
