"""Bring the software of the local stack that no wheel of requirements.txt carries.

Elasticsearch's jars: locked by sha256. Triton: a virtual environment of its own, pinned. Run again, it does only what
is missing.
Run:    python -m online.stack.install
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys

from data_exchange_center.files import written_in_place
from data_exchange_center.settings import Settings, load_settings
from online.stack.elasticsearch import service as elasticsearch
from online.stack.elasticsearch.jars import fetch_all
from online.stack.service import BIN, StackError, run
from online.stack.triton import service as triton

_log = logging.getLogger(__name__)


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise StackError(f"`{' '.join(command)}` failed; run `make services` again. It said:\n{done.stderr.strip()}")


def lay_out_backends(settings: Settings) -> None:
    """Triton wants a backend's files in one folder, none of them a link: the backend, and the stub for this Python."""
    wheel = triton.site_packages(settings) / "pytriton" / "tritonserver"
    folder = triton.backends_dir(settings) / "python"
    stub = wheel / "python_backend_stubs" / triton.PYTHON / "triton_python_backend_stub"
    for file in (*(wheel / "backends" / "python").iterdir(), stub):
        with written_in_place(folder / file.name) as temporary:
            shutil.copyfile(file, temporary)
    (folder / stub.name).chmod(0o755)


def install_triton(settings: Settings) -> None:
    """Make Triton's environment, unless it is whole. Raises StackError with what the installer said."""
    if triton.TRITON.missing(settings) is None:
        return
    uv = shutil.which("uv", path=BIN) or shutil.which("uv")
    if uv is None:
        raise StackError(f"uv is missing from {BIN}: run `make services`.")
    folder = triton.environment_dir(settings)
    _log.info("Triton: making its own environment in %s", folder)
    triton.ready_file(settings).unlink(missing_ok=True)
    python = folder / "bin" / "python"
    if not python.exists():
        shutil.rmtree(folder, ignore_errors=True)  # what an interrupted installation left; uv clears environments alone
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(folder))
    _run(uv, "pip", "sync", "--quiet", "--python", str(python), str(triton.REQUIREMENTS))
    lay_out_backends(settings)
    with written_in_place(triton.ready_file(settings)) as temporary:  # last: what is interrupted is not ready
        temporary.write_text(triton.stamp(), encoding="utf-8")


def main(settings: Settings) -> None:
    """Install whatever is missing. Raises StackError."""
    triton.check_python()
    triton.check_libpython()
    if elasticsearch.ELASTICSEARCH.missing(settings) is not None:
        fetch_all(elasticsearch.library(settings))
    install_triton(settings)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run(lambda: main(load_settings()), interrupted="interrupted; run it again and it goes on from there")
