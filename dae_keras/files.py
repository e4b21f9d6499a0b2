"""Files that are whole or not there."""

import os


def replace_file(path, write):
    """Write a file through a temporary one beside it, so that a half-written file never bears its name.

    Args:
        path: the file to make or replace; its folder exists.
        write: a function that takes the temporary path and writes there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
