from bench import record


def noop(job):
    pass


def single(job):
    record(job.workspace["sent"])
