from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from research.measure import other_checkout
from research.measure.other_checkout import (
    OtherCheckout,
    before_this_branch,
    commit_of,
    running,
    same_services,
)

AUTHOR = ("-c", "user.name=a", "-c", "user.email=a@b")
MAKEFILE = """\
sync:
\t@echo "$@ $$RECSYS_SERVER__PORT $$RECSYS_EXCHANGE_DIR" >> ../made; test -e "$$RECSYS_EXCHANGE_DIR/offline/readable"
offline:
\t@echo "$@" >> ../made; mkdir -p "$$RECSYS_EXCHANGE_DIR/offline"; touch "$$RECSYS_EXCHANGE_DIR/offline/readable"
setup up down:
\t@echo "$@ $$RECSYS_SERVER__PORT $$RECSYS_EXCHANGE_DIR" >> ../made
serve:
\t@echo "$@" >> ../made; test -e "$$RECSYS_EXCHANGE_DIR/offline/readable"
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "Makefile").write_text(MAKEFILE)
    for command in (("init", "-q"), ("add", "Makefile"), (*AUTHOR, "commit", "-q", "-m", "one")):
        subprocess.run(("git", *command), cwd=folder, check=True)
    monkeypatch.setattr(other_checkout, "ROOT", folder)
    monkeypatch.setattr(other_checkout, "_READY_WITHIN_S", 0.1)
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    offline = tmp_path / "exchange" / "offline"
    offline.mkdir(parents=True)
    (offline / "readable").touch()
    return Settings(exchange_dir=tmp_path / "exchange", services_dir=tmp_path / "services")


def made(other: OtherCheckout) -> list[list[str]]:
    return [line.split() for line in (other.folder / "made").read_text().splitlines()]


def test_a_ref_is_a_commit_or_an_error(repository: Path) -> None:
    assert commit_of("HEAD") == commit_of(commit_of("HEAD")[:10])
    with pytest.raises(StepError, match="git knows no commit 'elsewhere'"):
        commit_of("elsewhere")


def test_a_branch_is_held_against_where_it_left_main(repository: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(("git", *AUTHOR, *arguments), cwd=repository, check=True)

    one = commit_of("HEAD")
    git("commit", "-q", "--allow-empty", "-m", "two")
    assert before_this_branch() == one  # there is no origin/main
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    assert before_this_branch() == one  # this is main
    two = commit_of("HEAD")
    git("commit", "-q", "--allow-empty", "-m", "three")
    git("commit", "-q", "--allow-empty", "-m", "four")
    assert before_this_branch() == two


def test_the_same_services_do_while_nothing_they_are_made_of_has_changed(repository: Path) -> None:
    one = commit_of("HEAD")

    def change(path: str) -> None:
        (repository / path).parent.mkdir(parents=True, exist_ok=True)
        (repository / path).write_text("new")
        subprocess.run(("git", "add", path), cwd=repository, check=True)

    change("online/web/worker.py")
    change("online/stack/README.md")
    assert same_services(one)
    change("online/stack/redis.py")
    assert not same_services(one)


def test_nothing_is_left_of_it_but_what_the_caller_gave(repository: Path, settings: Settings, tmp_path: Path) -> None:
    trained = tmp_path / "trained"
    trained.mkdir()
    other = OtherCheckout(commit_of("HEAD"), settings, trained)
    with pytest.raises(StepError, match="`make sync` failed"), running(other, keep=False):
        pass  # pragma: no cover
    assert trained.is_dir()
    assert not other.folder.exists()
    listed = subprocess.run(("git", "worktree", "list"), cwd=repository, check=True, capture_output=True, text=True)
    assert len(listed.stdout.splitlines()) == 1
