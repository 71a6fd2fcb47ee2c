"""Create an API key, which is printed once and kept as a hash; revoke one; list the names.

A running server knows at once: it reads the file again when that has changed.

Run     make api-key name=<whose>, make api-key revoke=<whose>, make api-key
"""

from __future__ import annotations

import argparse

from data_exchange_center import steps
from data_exchange_center.settings import Settings
from extras.keys import hook as keys


def main(settings: Settings) -> None:
    """Raises KeyProblemError."""
    parser = argparse.ArgumentParser(
        prog="python -m extras.keys", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", default="", help="whose key it will be")
    parser.add_argument("--revoke", default="", help="whose key is good no longer")
    arguments = parser.parse_args()
    path = settings.keys_file
    if arguments.name:
        key = keys.add(path, arguments.name)
        print(f"{key}\nThis is {arguments.name}'s key; it is not shown again. Its hash is in {path}.")  # noqa: T201
    elif arguments.revoke:
        keys.revoke(path, arguments.revoke)
        print(f"{arguments.revoke}'s key is good no longer.")  # noqa: T201
    else:
        none = f"There is no key in {path}."
        if path.exists():
            none = f"Every key in {path} was revoked, and what writes still needs one: make api-key name=<whose>."
        print("\n".join(keys.read(path)) or none)  # noqa: T201


if __name__ == "__main__":
    steps.run(main)
