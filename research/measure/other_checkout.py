"""Another commit of this repository that runs next to this checkout: its code, its environment, its server.

Services and release are its own, too, unless it differs from this checkout in nothing that these are made of.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from online.stack.catalogue import on_free_ports
from research.bench.asking import becomes_ready

log = logging.getLogger(__name__)

ROOT: Final = Path(__file__).resolve().parents[2]
_READY_WITHIN_S: Final = 60.0  # beyond what its own command waits
# What the services run, and what they hold. The server's own code is not among it.
_OF_THE_SERVICES: Final = (
    "data_exchange_center",
    "offline_to_online/onnx_export.py",
    "offline_to_online/rows.py",
    "offline_to_online/stores",
    "offline_to_online/releases.py",
    "online/stack",
    "requirements.txt",
    ":(exclude)*.md",
)
# What a make above this one would pass on to those below, and where Python would look for the code before the checkout.
_NOT_PASSED_ON: Final = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTHONPATH", "VIRTUAL_ENV")


def commit_of(ref: str) -> str:
    """Raises StepError for a ref that git does not know."""
    done = _git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    if done.returncode:
        raise StepError(f"git knows no commit {ref!r} here: name a branch, a tag or a commit, or fetch it first")
    return done.stdout.strip()


def before_this_branch() -> str:
    """The commit at which this branch left ``origin/main``; on that itself, or without it, the one before."""
    left = _git("merge-base", "origin/main", "HEAD").stdout.strip()
    return left if left and left != commit_of("HEAD") else commit_of("HEAD~1")


def same_services(commit: str) -> bool:
    """Whether the commit's server can use the services that run here: nothing they are made of has changed since."""
    return _git("diff", "--quiet", commit, "--", *_OF_THE_SERVICES).returncode == 0


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(("git", *arguments), cwd=ROOT, check=False, capture_output=True, text=True)


class OtherCheckout:
    """A commit in a git worktree, run by its own code with settings of its own."""

    def __init__(
        self, commit: str, settings: Settings, exchange: Path | None, *, shares_services: bool = False
    ) -> None:
        """``exchange``: its exchange folder, where it has been trained or even loaded before.

        None: a new one, with a copy of this checkout's artifacts. ``shares_services``: its server uses the services
        that run here, for the release that is live in them.
        """
        self.commit = commit
        self.shares_services = shares_services
        self.folder = settings.services_dir / "bench" / commit[:12]
        self._checkout = self.folder / "checkout"
        self._artifacts = None if exchange else settings.offline_dir
        own = {"exchange_dir": exchange or self.folder / "exchange", "services_dir": self._checkout / ".services"}
        moved = on_free_ports(settings)
        ports = settings.model_copy(update={"server": moved.server}) if shares_services else moved
        self.settings = ports.model_copy(update=own)

    def make(self, *targets: str) -> bool:
        """Run its ``make``; whether that went well."""
        return self._run("make", *targets)

    def _stack(self, *arguments: str) -> bool:
        """Run a command of its stack, without what ``make`` would bring for it: the services' software."""
        return self._run(".venv/bin/python", "-m", "online.stack", *arguments)

    def _run(self, *command: str) -> bool:
        inherited = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
        environment = {**inherited, **self.settings.environment()}
        return subprocess.run(command, cwd=self._checkout, env=environment, check=False).returncode == 0

    def check_out(self) -> None:
        """Bring its code, unless it is there. Raises StepError."""
        if self._checkout.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        done = _git("worktree", "add", "--detach", str(self._checkout), self.commit)
        if done.returncode:
            raise StepError(f"git could not check {self.commit[:12]} out: {done.stderr.strip()}")

    def start(self) -> None:
        """Bring its environment, start its services, load its release, start its server; or the server alone.

        It is trained with its own code where this checkout's artifacts are not for it. Raises StepError for what fails,
        after its own message.
        """
        if self.shares_services:
            self._expect(".venv/.ready")
            if not self._stack("serve"):
                raise self._not_ready()
            return
        offline = self.settings.offline_dir
        if self._artifacts is not None and not offline.exists():
            shutil.copytree(self._artifacts, offline)
        loaded = self.settings.service_dir("redis").exists()
        self._expect("setup", "up")
        if loaded and self._serves():
            return
        if self._artifacts is None:
            self._expect("sync")
        elif not self.make("sync"):
            log.warning("%s cannot use this checkout's artifacts: it makes its own", self.commit[:12])
            shutil.rmtree(offline)
            self._expect("offline", "sync")
        if not self._serves():
            raise self._not_ready()

    def _not_ready(self) -> StepError:
        return StepError(f"the server of {self.commit[:12]} did not become ready: see above")

    def _serves(self) -> bool:
        return self.make("serve") or becomes_ready(self.settings.server.url, _READY_WITHIN_S)

    def _expect(self, *targets: str) -> None:
        if not self.make(*targets):
            raise StepError(f"`make {' '.join(targets)}` failed in {self._checkout}: see above")

    def stop(self) -> None:
        """End what it has started."""
        if self.shares_services:
            self._stack("down")
        else:
            self.make("down")

    def remove(self) -> None:
        """The checkout and, where it is not the caller's, its exchange folder."""
        _git("worktree", "remove", "--force", str(self._checkout))
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def running(other: OtherCheckout, *, keep: bool) -> Iterator[OtherCheckout]:
    """Its server and its services, until the end. ``keep``: its files stay for the next time."""
    other.check_out()
    try:
        other.start()
        yield other
    finally:
        other.stop()
        if not keep:
            other.remove()
