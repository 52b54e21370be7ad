"""The two errors a user meets: one or two lines, with the value that is wrong and what to do about it."""

_MAX_CHARACTERS = 200


class DataError(Exception):
    """The data, a file or a run is bad. The command ends with exit code 1."""


class UsageError(Exception):
    """The command was called wrongly. The command ends with exit code 2."""


def first_line(said: BaseException | str) -> str:
    """What an error or a tool says first, in one line of at most 200 characters; an error's type if it says nothing."""
    return _lines(said)[0]


def last_line(said: BaseException | str) -> str:
    """What an error or a tool says last, as above: where FFmpeg and Python give the reason."""
    return _lines(said)[-1]


def _lines(said: BaseException | str) -> list[str]:
    lines = [line.strip()[:_MAX_CHARACTERS] for line in str(said).splitlines() if line.strip()]
    return lines or ["no message" if isinstance(said, str) else type(said).__name__]
