from bench import record


def noop():
    pass


def single(sent):
    record(sent)
