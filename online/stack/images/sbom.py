"""What each image holds, as a CycloneDX document: Python packages, jars, Debian packages.

The same image gives the same document.
Reads   the images, through inventory.py; jars.lock
Writes  FOLDER/<service>.cdx.json, valid by CycloneDX's schema
Run     make sbom, or python -m online.stack.images.sbom [FOLDER]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_OID, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from online.stack.elasticsearch.jars import locked_jars
from online.stack.images import engine
from online.stack.images.licences import UNKNOWN, spdx
from online.stack.service import ROOT, StackError, run

FOLDER: Final = ROOT / "sbom"
SCHEMA: Final = SchemaVersion.V1_6


def _component(purl: PackageURL, **more: Any) -> Component:
    return Component(
        name=purl.name, group=purl.namespace, version=purl.version, purl=purl, bom_ref=purl.to_string(), **more
    )


def python_components(packages: list[dict[str, Any]]) -> Iterator[Component]:
    for package in packages:
        licence = spdx(package)
        licences = [] if licence == UNKNOWN else [LicenseFactory().make_from_string(licence)]
        yield _component(PackageURL("pypi", None, package["name"], package["version"]), licenses=licences)


def debian_components(packages: list[dict[str, str]], release: Mapping[str, str]) -> Iterator[Component]:
    for package in packages:
        qualifiers = {"arch": package["architecture"], "distro": release["VERSION_CODENAME"]}
        yield _component(PackageURL("deb", release["ID"], package["name"], package["version"], qualifiers))


def jar_components(jars: Mapping[str, str]) -> Iterator[Component]:
    """Raises StackError for a jar that is not the locked one."""
    locked = {jar.filename: jar for jar in locked_jars()}
    for name, digest in jars.items():
        if name not in locked or locked[name].sha256 != digest:
            raise StackError(f"{name} in the image, sha256 {digest}, is not in jars.lock: build the image anew.")
        group, artifact, version = locked[name].coordinate.split(":")
        yield _component(
            PackageURL("maven", group, artifact, version),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        )


def document(name: str, image_id: str, created: datetime, held: Mapping[str, Any]) -> str:
    """CycloneDX as JSON. Raises StackError where it is not valid by the schema."""
    image = Component(name=name, version=image_id, type=ComponentType.CONTAINER, bom_ref=image_id)
    bom = Bom(
        serial_number=uuid5(NAMESPACE_OID, image_id),
        metadata=BomMetaData(component=image, timestamp=created),
        components=[
            *python_components(held["python"]),
            *jar_components(held["jars"]),
            *debian_components(held["debian"], held["release"]),
        ],
    )
    bom.register_dependency(image, bom.components)
    text = make_outputter(bom, OutputFormat.JSON, SCHEMA).output_as_string(indent=1)
    problem = JsonStrictValidator(SCHEMA).validate_str(text)
    if problem is not None:
        raise StackError(f"{name}: the document is not valid by CycloneDX {SCHEMA.to_version()}: {problem}")
    return text + "\n"


def write(folder: Path) -> None:
    """A document for each image that is built here. Raises StackError."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in (image for image in engine.images_here() if image.built):
        held = engine.inventory(image)
        (said,) = json.loads(engine.docker("image", "inspect", image.name))
        created = datetime.fromisoformat(said["Created"])
        path = folder / f"{image.service}.cdx.json"
        path.write_text(document(image.name, said["Id"], created, held), encoding="utf-8")
        counts = ", ".join(f"{len(held[kind])} {title}" for kind, title in KINDS.items() if held[kind])
        print(f"{path}: {counts}")  # noqa: T201


KINDS: Final = {"python": "Python packages", "jars": "jars", "debian": "Debian packages"}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    run(lambda: write(parser.parse_args().folder), interrupted="interrupted")
