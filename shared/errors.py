"""The two errors a user meets: one or two lines, with the value that is wrong and what to do about it."""


class DataError(Exception):
    """The data, a file or a run is bad. The command ends with exit code 1."""


class UsageError(Exception):
    """The command was called wrongly. The command ends with exit code 2."""
