"""Faults of the system and of other libraries, told as the package's own errors: in one line, without a traceback."""

import contextlib

_LONGEST = 400  # letters of another library's message that are worth reading


class TrainingError(Exception):
    """A device, a checkpoint or the training itself failed. The message says what to do."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM: like Ctrl-C, from somebody else."""


def one_line(error):
    """What an error says, as one printable line; of an error of the system, the file and the reason."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = "".join(letter for letter in (lines[0] if lines else type(error).__name__) if letter.isprintable())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."


@contextlib.contextmanager
def told_as(own_error, sentence, *kinds):
    """Turn errors of these kinds, of the system or another library, into one of the package's own.

    Args:
        own_error: the class, such as `DataError`.
        sentence: what went wrong and what to do; `{}` in it stands for what the error says.
        kinds: the classes of errors to turn; errors of `own_error` itself pass unchanged.
    """
    try:
        yield
    except own_error:
        raise
    except kinds as error:
        raise own_error(sentence.replace("{}", one_line(error))) from error
