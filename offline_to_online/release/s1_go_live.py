"""Publish the release that was loaded and checked, and activate it: from now on the server answers from it.

Industry separates deploying from switching: everything is in place before one small, reversible change. Here that is a
pointer in Redis, which each worker of a server reads twice a second. A release that is not whole in all four stores, or
that has not passed the check of offline against online since it was loaded, is refused. The live release, the one
before it and others that were published last are kept, RECSYS_KEPT_RELEASES in all (`make releases` lists them, `make
activate release=<id>` goes back); all others are deleted. `make publish` does the same without the switch.

Reads:  data_exchange_center/offline/ (which release it is) and offline_to_online/<release>/manifest.json; the services
Writes: in Redis ml:<release>:manifest, the list ml:published and the pointer ml:live; the alias ml_item; Feast's
        services ml_user and ml_item; deletes the releases that are not kept
Run:    cd offline_to_online/release && python s1_go_live.py
Expect: the release is live
"""

from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline_to_online.releases import activate, publish, retire


def main(settings: Settings) -> None:
    release = release_of_artifacts(settings).release
    publish(settings, release)
    activate(settings, release, apply_pending=False)
    deleted = retire(settings)
    print(
        f"release {release} is live"
        + (f"; deleted: {', '.join(sorted(deleted))}" if deleted else "")
    )


if __name__ == "__main__":
    run(main, about=__doc__)
