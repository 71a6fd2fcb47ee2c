"""Create an API key, which is printed once and kept as a hash; revoke one; list the names and scopes.

A running server reads the file again when it has changed. Scopes, joined by commas: read (recommendations, histories,
metrics), events (recording events), admin (everything; the default).

Run     make api-key name=<name> scope=read,events, make api-key revoke=<name>, make api-key
"""

from __future__ import annotations

import argparse

from data_exchange_center import steps
from data_exchange_center.settings import Settings
from extras.keys import store as keys


def main(settings: Settings) -> None:
    """Raises KeyProblemError."""
    parser = argparse.ArgumentParser(
        prog="python -m extras.keys",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--name", default="", help="name of the new key")
    parser.add_argument(
        "--scope",
        default="admin",
        help="read, events, admin, or several, joined by commas",
    )
    parser.add_argument("--revoke", default="", help="name of the key to revoke")
    arguments = parser.parse_args()
    path = settings.keys_file
    none_left = (
        f"Every key in {path} was revoked, and recording events still needs one: make api-key name=<name> creates one. "
        "Without that file a server that only this machine reaches records events without a key again."
    )
    if arguments.name:
        key = keys.add(
            path, arguments.name, [each.strip() for each in arguments.scope.split(",")]
        )
        said = f"This is the key {arguments.name}, with the scope {arguments.scope}"
        print(f"{key}\n{said}; it is not shown again. Its hash is in {path}.")  # noqa: T201
    elif arguments.revoke:
        left = keys.revoke(path, arguments.revoke)
        print(  # noqa: T201
            f"The key {arguments.revoke} is revoked.{'' if left else ' ' + none_left}"
        )
    else:
        lines = [
            f"{each.name} {','.join(sorted(each.scopes))}"
            for each in keys.read(path).values()
        ]
        none = (
            none_left
            if path.exists()
            else f"There is no key in {path}: make api-key name=<name> creates one."
        )
        print("\n".join(lines) or none)  # noqa: T201


if __name__ == "__main__":
    steps.run(main)
