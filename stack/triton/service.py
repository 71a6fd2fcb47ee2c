"""Triton Inference Server: scores of the ranking model."""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import subprocess
import sys
import sysconfig
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Final

from data_exchange_center.files import sha256, written_in_place
from data_exchange_center.settings import TRITON_SOCKET, Settings
from online.clients.http import Http
from stack.service import (
    LOOPBACK,
    NotReadyError,
    Port,
    Program,
    Service,
    StackError,
    make_private,
)

log = logging.getLogger(__name__)

VERSION: Final = "2.51.0"
REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
KEEP_UMASK: Final = Path(__file__).with_name("keep_umask.py")
BACKEND: Final = Path(__file__).with_name("backends") / "onnxruntime" / "model.py"
UV: Final = (sys.executable, "-m", "uv")
# those the wheel has a stub for
PYTHONS: Final = tuple((3, minor) for minor in range(8, 14))
PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
# These calls write to files or to the memory of processes. They require a header whose value is a line feed, which no
# header can have: nobody may call them.
CLOSED: Final = "shared-memory,trace,logging"
FLAGS: Final = (
    # Triton follows the repository: versions come and go while the others keep answering. It refuses to load a model by
    # a request, as a model is code.
    "--model-control-mode=poll",
    "--repository-poll-secs=1",
    "--allow-grpc=false",
    f"--http-restricted-api={CLOSED}:closed=\n",
    "--exit-on-error=false",  # a broken model must not take the server with it: it reports not ready instead
    "--exit-timeout-secs=5",
)


def environment_dir(settings: Settings) -> Path:
    """Triton's own virtual environment."""
    return settings.services_dir / f"triton-{VERSION}"


def site_packages(settings: Settings) -> Path:
    return environment_dir(settings) / "lib" / f"python{PYTHON}" / "site-packages"


def backends_dir(settings: Settings) -> Path:
    return environment_dir(settings) / "backends"


def libpython_dir() -> Path | None:
    """The folder with this Python's shared library, which Triton's stub links to; None when there is none."""
    name = f"libpython{PYTHON}.so.1.0"
    folders = [
        sysconfig.get_config_var("LIBDIR"),
        sysconfig.get_config_var("LIBPL"),
        f"{sys.base_prefix}/lib",
    ]
    if multiarch := sysconfig.get_config_var("MULTIARCH"):
        folders += [
            f"{folder}/{multiarch}" for folder in ("/usr/lib", "/lib", folders[0])
        ]
    folders += os.environ.get("LD_LIBRARY_PATH", "").split(":")
    for folder in filter(None, folders):
        if (Path(folder) / name).is_file():
            return Path(folder)
    return None


def _loader_finds_libpython() -> bool:
    try:
        ctypes.CDLL(f"libpython{PYTHON}.so.1.0")
    except OSError:
        return False
    return True


def stamp() -> str:
    """Content of `ready_file` for an environment that is whole and up to date."""
    return f"{PYTHON} {sha256(REQUIREMENTS)}\n"


def ready_file(settings: Settings) -> Path:
    return environment_dir(settings) / ".ready"


def check_python() -> None:
    """Raises StackError for a Python, or a system, that Triton's wheel is not made for."""
    if sys.version_info[:2] not in PYTHONS or sys.platform != "linux":
        raise StackError(
            f"the local Triton runs on Linux with Python 3.{PYTHONS[0][1]} to 3.{PYTHONS[-1][1]}, this is "
            f"Python {PYTHON} on {sys.platform}: make the environment with another Python, or use Docker."
        )


def check_libpython() -> None:
    """Raise StackError when Triton's stub could not find libpython."""
    if libpython_dir() is None and not _loader_finds_libpython():
        raise StackError(
            f"Triton's Python stub needs libpython{PYTHON}.so.1.0, and {sys.executable} has none: install it "
            f"(Debian and Ubuntu: libpython{PYTHON}), or add the folder that has it to LD_LIBRARY_PATH."
        )


def own_libpython(settings: Settings) -> Path:
    """Folder in which the stub finds this Python's library under the name that it loads.

    For Python 3.13 the wheel brings a libpython of its own, of the first 3.13, which cannot load the standard library
    of a later one. The link in this folder, to this Python's, is found before it. Other versions bring none.
    """
    folder = environment_dir(settings) / "libpython"
    folder.mkdir(parents=True, exist_ok=True)
    own = libpython_dir()
    for bundled in (site_packages(settings) / "nvidia_pytriton.libs").glob(
        f"libpython3-*.{sys.version_info[1]}.so.1.0"
    ):
        link = folder / bundled.name
        link.unlink(missing_ok=True)
        if own:
            link.symlink_to(own / f"libpython{PYTHON}.so.1.0")
    return folder


def run_quietly(*command: str) -> None:
    """Run a command of the installation. Raises StackError with what it said."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise StackError(
            f"`{' '.join(command)}` failed; run `make setup` again. It said:\n{done.stderr.strip()}"
        )


def lay_out_backends(settings: Settings) -> None:
    """Copy the Python backend and the stub for this Python into one folder; Triton accepts no links in it."""
    wheel, folder = (
        site_packages(settings) / "pytriton" / "tritonserver",
        backends_dir(settings) / "python",
    )
    stub = wheel / "python_backend_stubs" / PYTHON / "triton_python_backend_stub"
    for file in (*(wheel / "backends" / "python").iterdir(), stub):
        with written_in_place(folder / file.name, mode=0o644) as temporary:
            shutil.copyfile(file, temporary)
    (folder / stub.name).chmod(0o755)


class Triton(Service):
    """tritonserver of the wheel, in an environment of its own."""

    name = "triton"
    title = "Triton"
    ports = (
        Port(("triton", "http_port"), 8000, unless="socket_dir"),
        Port(("triton", "metrics_port"), 8002),
    )

    def prepare(self, settings: Settings) -> None:
        """Make the model repository, and copy our backend, which may have changed since the installation."""
        check_libpython()
        own_libpython(settings)
        with written_in_place(
            backends_dir(settings) / "onnxruntime" / "model.py", mode=0o644
        ) as temporary:
            shutil.copyfile(BACKEND, temporary)
        settings.service_dir("triton").mkdir(parents=True, exist_ok=True)
        if settings.triton.socket_dir:
            make_private(settings.triton.socket_dir)

    def missing(self, settings: Settings) -> str | None:
        ready = ready_file(settings)
        if not ready.is_file() or ready.read_text(encoding="utf-8") != stamp():
            return f"Triton's environment is missing from {environment_dir(settings)}, or not up to date"
        return None

    def install(self, settings: Settings) -> None:
        """Make Triton's virtual environment, unless it is complete."""
        check_python()
        check_libpython()
        if self.missing(settings) is None:
            return
        folder = environment_dir(settings)
        log.info("Triton: making its own environment in %s", folder)
        ready_file(settings).unlink(missing_ok=True)
        python = folder / "bin" / "python"
        if not python.exists():
            # what an interruption left; uv clears environments alone
            shutil.rmtree(folder, ignore_errors=True)
            run_quietly(*UV, "venv", "--quiet", "--python", sys.executable, str(folder))
        run_quietly(
            *UV, "pip", "sync", "--quiet", "--python", str(python), str(REQUIREMENTS)
        )
        lay_out_backends(settings)
        with written_in_place(
            ready_file(settings), mode=0o644
        ) as temporary:  # last: what is interrupted is not ready
            temporary.write_text(stamp(), encoding="utf-8")

    def program(self, settings: Settings) -> Program:
        """Triton on a Unix socket that its owner alone reaches, or, with RECSYS_TRITON__NODES, on a port of loopback.

        Its metrics are on a port in either case: Prometheus reads no sockets.
        """
        site, triton = site_packages(settings), settings.triton
        libraries = (
            environment_dir(settings) / "libpython",
            site / "nvidia_pytriton.libs",
            libpython_dir(),
        )
        socket = triton.socket_dir / TRITON_SOCKET if triton.socket_dir else None
        return Program(
            command=(
                *(sys.executable, "-I", str(KEEP_UMASK)),
                str(site / "pytriton" / "tritonserver" / "bin" / "tritonserver"),
                f"--model-repository={settings.service_dir('triton')}",
                f"--backend-directory={backends_dir(settings)}",
                f"--http-address={f'unix:{socket.name}' if socket else LOOPBACK}",
                f"--http-port={triton.http_port}",
                f"--metrics-address={LOOPBACK}",
                f"--metrics-port={triton.metrics_port}",
                *FLAGS,
            ),
            environment={
                "LD_LIBRARY_PATH": ":".join(
                    str(folder) for folder in libraries if folder
                ),
                # Not the caller's PATH, which differs between shells: a changed environment restarts the program.
                "PATH": f"{environment_dir(settings) / 'bin'}:{os.defpath}",
                "PYTHONPATH": str(site),
            },
            socket=socket,
        )

    def version(self, settings: Settings) -> str:
        with closing(Http(settings.triton.url, timeout_s=2.0)) as http:
            try:
                # live, not ready: Triton is not ready for as long as it remembers a version that it could not load
                live = http.get("/v2/health/live")
            except OSError as error:
                raise NotReadyError(
                    f"{self.title} does not answer on {self.where(settings)} yet"
                ) from error
        if live.status != HTTPStatus.OK:
            raise NotReadyError(f"{self.title} is starting")
        return VERSION


TRITON: Final = Triton()
