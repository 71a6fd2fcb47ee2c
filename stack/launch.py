"""Replace this process by the program that a file describes, so that supervisord's configuration can be a static file.

Nothing that a command line or a variable may hold (blanks, quotation marks, per cent signs) has to be escaped for it.
Run     python launch.py supervisor/redis.json
"""

import json
import os
import sys


def environment(described: dict[str, str]) -> dict[str, str]:
    """A program's variables: of the inherited ones no settings, as those of the shell that started it may be others."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("RECSYS_")
    } | described


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123 (each import delays a start)
        program = json.load(file)
    os.chdir(program["directory"])
    command = program["command"]
    os.execvpe(command[0], command, environment(program["environment"]))  # noqa: S606
