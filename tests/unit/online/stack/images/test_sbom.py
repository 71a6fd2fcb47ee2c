"""What an inventory becomes in CycloneDX; the documents are validated by the library before they are written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from online.stack.elasticsearch.jars import locked_jars
from online.stack.images import engine, sbom
from online.stack.images.engine import Image
from online.stack.service import StackError

JAR = locked_jars()[0]
GROUP, ARTIFACT, VERSION = JAR.coordinate.split(":")
HELD: dict[str, Any] = {
    "release": {"ID": "debian", "VERSION_CODENAME": "bookworm"},
    "python": [
        {"name": "a", "version": "1", "expression": "MIT", "licence": "", "classifiers": []},
        {"name": "b", "version": "2", "expression": "", "licence": "Terms of ours", "classifiers": []},
        {"name": "c", "version": "3", "expression": "MIT AND ISC", "licence": "", "classifiers": []},
        {"name": "d", "version": "4", "expression": "", "licence": "", "classifiers": []},
    ],
    "debian": [{"name": "libssl3", "version": "3.0.22-1~deb12u2", "architecture": "amd64", "source": "openssl"}],
    "jars": {JAR.filename: JAR.sha256},
}
CREATED = datetime(2026, 1, 2, tzinfo=UTC)


def document(held: dict[str, Any] = HELD) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(sbom.document("p-redis", "sha256:ab", CREATED, held))
    return written


def test_every_package_has_its_purl() -> None:
    assert {component["purl"] for component in document()["components"]} == {
        "pkg:pypi/a@1",
        "pkg:pypi/b@2",
        "pkg:pypi/c@3",
        "pkg:pypi/d@4",
        "pkg:deb/debian/libssl3@3.0.22-1~deb12u2?arch=amd64&distro=bookworm",
        f"pkg:maven/{GROUP}/{ARTIFACT}@{VERSION}",
    }


def test_jars_have_their_hash_and_python_packages_their_licence() -> None:
    components = {component["name"]: component for component in document()["components"]}
    assert components[ARTIFACT]["hashes"] == [{"alg": "SHA-256", "content": JAR.sha256}]
    assert components["a"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert components["b"]["licenses"] == [{"license": {"name": "Terms of ours"}}]
    assert components["c"]["licenses"] == [{"expression": "MIT AND ISC"}]
    assert "licenses" not in components["d"]


def test_it_is_about_the_image_and_the_same_each_time() -> None:
    about = document()["metadata"]
    assert about["component"] == {
        "type": "container",
        "name": "p-redis",
        "version": "sha256:ab",
        "bom-ref": "sha256:ab",
    }
    assert about["timestamp"].startswith("2026-01-02T00:00:00")
    assert document() == document()


def test_a_jar_that_is_not_locked_is_refused() -> None:
    with pytest.raises(StackError, match=rf"{JAR.filename} in the image, sha256 00, is not in jars\.lock"):
        document({**HELD, "jars": {JAR.filename: "00"}})


def test_a_document_that_is_not_valid_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbom.JsonStrictValidator, "validate_str", lambda self, text: "'x' is not of type 'array'")
    with pytest.raises(StackError, match=r"p-redis: the document is not valid by CycloneDX 1\.6: 'x' is not"):
        document()


def test_one_document_for_each_image_that_is_built_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = (Image("redis", "p-redis", built=True), Image("triton", "tritonserver:1", built=False))
    inspected = [{"Id": "sha256:ab", "Created": "2026-11-25T17:58:55.248444213Z"}]
    monkeypatch.setattr(engine, "images_here", lambda: here)
    monkeypatch.setattr(engine, "inventory", lambda image: HELD)
    monkeypatch.setattr(engine, "docker", lambda *words: json.dumps(inspected))
    sbom.write(tmp_path / "sbom")
    assert [path.name for path in (tmp_path / "sbom").iterdir()] == ["redis.cdx.json"]
    assert len(json.loads((tmp_path / "sbom/redis.cdx.json").read_text())["components"]) == 6
