"""A version is released only when the checkout is that version, with all that belongs to it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from research import release
from research.figures.measure_all import Measurement
from research.figures.readme import ROOT

VERSION = "3.1.4"
LOG = f"""# Changelog

## [Unreleased]

- later

## [{VERSION}] - 2027-01-02

### Added

- pies

## [0.1.0] - 2026-11-30

- old
"""
FIGURE = {"command": "make bench", "machine": {"cores": 2}, "measured": {"version": VERSION}}


class Checkout:
    """A repository of version `VERSION` that can be released; make's targets are recorded."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ran, self.failing = folder, [], set()
        self.git("init", "--quiet")
        (folder / "figures").mkdir()
        (folder / "CHANGELOG.md").write_text(LOG)
        (folder / "CITATION.cff").write_text(f"title: pies\nversion: {VERSION}\ndate-released: 2027-01-02\n")
        self.write_figure("serving.json", FIGURE)
        self.write_figure("source.json", {"about": "measured once"})
        self.commit()

    def git(self, *arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(("git", *who, *arguments), cwd=self.folder, check=True, capture_output=True)

    def commit(self) -> None:
        self.git("add", ".")
        self.git("commit", "--quiet", "--allow-empty", "--message", "a commit")

    def write_figure(self, name: str, content: dict[str, Any]) -> None:
        (self.folder / "figures" / name).write_text(json.dumps(content))

    def runs(self, *command: str) -> bool:
        self.ran.append(" ".join(command))
        return self.ran[-1] not in self.failing

    def problems(self, *without: str) -> list[str]:
        return release.problems(VERSION, without)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    folder = tmp_path / "checkout"
    folder.mkdir()
    found = Checkout(folder)
    for name, value in {
        "ROOT": folder, "FIGURES": folder / "figures", "CHANGELOG": folder / "CHANGELOG.md", "VERSION": VERSION,
        "CITATION": folder / "CITATION.cff",
        "runs": found.runs, "PLAN": [Measurement("serving.json", "make bench")],
    }.items():  # fmt: skip
        monkeypatch.setattr(release, name, value)
    return found


def test_a_checked_version_has_no_problem(checkout: Checkout) -> None:
    assert checkout.problems() == []
    assert checkout.ran == ["make readme check=1", "make licences", "make vulnerabilities", "make audit-runtimes"]


def test_every_problem_is_listed_at_once(checkout: Checkout) -> None:
    checkout.failing = {"make readme check=1", "make vulnerabilities"}
    checkout.git("tag", f"v{VERSION}")
    checkout.write_figure("shed.json", {**FIGURE, "machine": {"cores": 8}, "measured": {"version": "0.1.0"}})
    checkout.commit()
    (checkout.folder / "left behind").touch()
    (checkout.folder / "CHANGELOG.md").write_text(LOG.replace(f"[{VERSION}] - 2027-01-02", f"[{VERSION}]"))
    found = checkout.problems()
    for part in (
        *("left behind", f"v{VERSION}", "CHANGELOG", "another version: shed.json", "2 machines"),
        *("make readme", "make vulnerabilities "),
    ):
        assert sum(part in each for each in found) == 1, (part, found)
    assert not any("serving.json" in each for each in found)
    assert len(checkout.problems("figures", "machine", "vulnerabilities", "changelog")) == 2


@pytest.mark.parametrize("line", [f"version: {VERSION}0", "date-released: 2027-01-03"])
def test_a_citation_of_another_version_is_refused(checkout: Checkout, line: str) -> None:
    text = (checkout.folder / "CITATION.cff").read_text()
    name = line.partition(":")[0]
    (checkout.folder / "CITATION.cff").write_text(
        "\n".join(line if each.startswith(name) else each for each in text.splitlines())
    )
    checkout.commit()
    assert any("CITATION" in each for each in checkout.problems())


def test_figures_of_another_machine_are_named(checkout: Checkout) -> None:
    for name in ("shed.json", "soak.json"):
        checkout.write_figure(name, FIGURE if name == "shed.json" else {**FIGURE, "machine": {"cores": 8}})
    checkout.commit()
    (problem,) = checkout.problems()
    assert "soak.json" in problem
    assert "shed.json" not in problem
    assert checkout.problems("machine") == []


@pytest.mark.parametrize("name", sorted(release.CHECKS.keys() - {"checkout"}))
def test_every_check_but_the_checkouts_can_be_left_out(name: str) -> None:
    assert release.CHECKS[name][0] in release.notes("0.1.0", [name])


@pytest.mark.parametrize("finished", [True, False])
def test_a_study_that_is_not_finished_is_refused(checkout: Checkout, *, finished: bool) -> None:
    checkout.write_figure("tune.json", {**FIGURE, "measured": {"version": VERSION, "finished": finished}})
    checkout.commit()
    assert any("tune.json" in each for each in checkout.problems()) is not finished


def test_a_figure_that_was_never_measured_is_refused(checkout: Checkout) -> None:
    (checkout.folder / "figures" / "serving.json").unlink()
    checkout.commit()
    assert any("serving.json" in each for each in checkout.problems())


def test_another_version_is_refused(checkout: Checkout) -> None:
    (problem,) = release.checkout("3.1.5")
    assert VERSION in problem
    with pytest.raises(SystemExit, match=r"3\.1\.5"):
        release.main("3.1.5", ())


def test_the_archive_is_of_the_commit_and_notes_of_the_log(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout.folder / "Makefile").write_text("sbom:\n\tmkdir sbom && touch sbom/server.cdx.json\n")
    checkout.commit()
    folder = tmp_path / "release"
    release.make(VERSION, ["vulnerabilities"], folder)
    notes = (folder / "notes.md").read_text()
    assert "- pies" in notes
    assert "- later" not in notes
    assert "- old" not in notes
    assert f"Not checked for this release: {release.CHECKS['vulnerabilities'][0]}." in notes
    with tarfile.open(folder / f"recsys_pipeline-{VERSION}.tar.gz") as archive:
        assert f"recsys_pipeline-{VERSION}/CHANGELOG.md" in archive.getnames()
        assert not any("left behind" in name for name in archive.getnames())
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert (folder / "sbom" / "server.cdx.json").is_file()


def test_the_changelog_has_sections_of_versions_with_dates() -> None:
    assert release.changes("0.1.0"), "as make release reads them"
    assert (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").count("## [Unreleased]") == 1
