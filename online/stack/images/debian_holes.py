"""Debian packages of an image for which Debian's security archive has a newer version.

apt says so itself, in a container of the image that is thrown away: of the security archive alone, beside the mirror
that the image names. Holes that Debian has not fixed yet are not among them.
"""

from __future__ import annotations

import re
from typing import Final

from online.stack.images.engine import Image, docker
from online.stack.images.findings import Findings, Hole
from online.stack.service import StackError

TRACKER: Final = "https://security-tracker.debian.org/tracker/source-package/"
# `apt-get update` calls it a success when nothing could be fetched, unless it is told otherwise.
SCRIPT: Final = r"""
set -e
. /etc/os-release
[ "$ID" = debian ] || { echo "no Debian: $PRETTY_NAME" >&2; exit 1; }
mirror=$(grep -rhoE 'https?://[^ ]+/debian\b' /etc/apt/sources.list* | head -n 1)
[ -n "$mirror" ] || { echo "no Debian mirror in /etc/apt" >&2; exit 1; }
echo "deb $mirror-security $VERSION_CODENAME-security main" > /tmp/security.list
options="-o Dir::Etc::SourceList=/tmp/security.list -o Dir::Etc::SourceParts=/dev/null"
apt-get $options -o APT::Update::Error-Mode=any -o Acquire::Retries=2 --quiet=2 update >&2
apt $options --quiet=2 list --upgradable 2> /dev/null
echo
dpkg-query --show --showformat '${Package}\t${source:Package}\n'
"""
UPGRADABLE: Final = re.compile(r"(?P<package>[^/\s]+)/\S+ (?P<new>\S+) \S+ \[upgradable from: (?P<old>\S+)\]")


def read(said: str, service: str) -> tuple[Hole, ...]:
    """The holes in what SCRIPT printed in a service's image."""
    upgradable, _, installed = said.partition("\n\n")
    sources = dict(line.split("\t") for line in installed.splitlines())
    found = filter(None, map(UPGRADABLE.match, upgradable.splitlines()))
    return tuple(
        Hole(service, m["package"], m["old"], TRACKER + sources.get(m["package"], m["package"]), m["new"])
        for m in found
    )


def debian_holes(image: Image) -> Findings:
    """Raises nothing: what could not be asked is among the findings."""
    words = ("--rm", "--interactive", "--user", "root", "--entrypoint", "sh", image.name, "-s")
    try:
        return Findings(read(docker("run", *words, given=SCRIPT), image.service))
    except StackError as error:
        return Findings(unreached=(f"Debian's security archive could not be asked about {image.name}: {error}",))
