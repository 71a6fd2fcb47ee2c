"""Triton Inference Server: scores of the ranking model."""

from __future__ import annotations

import ctypes
import logging
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

from data_exchange_center.files import sha256, written_in_place
from data_exchange_center.settings import Settings
from stack.service import BIN, LOOPBACK, Port, Program, Service, StackError

log = logging.getLogger(__name__)

VERSION: Final = "2.51.0"
REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
BACKEND: Final = Path(__file__).with_name("backends") / "onnxruntime" / "model.py"
PYTHONS: Final = tuple((3, minor) for minor in range(8, 14))  # those the wheel has a stub for
PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
# Loading a model runs its code, and the other calls here write to files or processes' memory: they need the secret.
RESTRICTED: Final = "model-repository,shared-memory,trace,logging"
KEY_HEADER: Final = "recsys-repository-key"
FLAGS: Final = (
    # Versions come and go by RepositoryModelLoad, while the others keep answering.
    "--model-control-mode=explicit",
    "--load-model=*",
    "--exit-on-error=false",  # a broken model must not take the server with it: it reports not ready instead
    "--exit-timeout-secs=5",
)


def restricted(key: str) -> tuple[str, str]:
    """Options that require the key for the `RESTRICTED` calls, such as loading models, by HTTP and by gRPC."""
    return (
        f"--http-restricted-api={RESTRICTED}:{KEY_HEADER}={key}",
        f"--grpc-restricted-protocol={RESTRICTED}:{KEY_HEADER}={key}",
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
    folders = [sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LIBPL"), f"{sys.base_prefix}/lib"]
    if multiarch := sysconfig.get_config_var("MULTIARCH"):
        folders += [f"{folder}/{multiarch}" for folder in ("/usr/lib", "/lib", folders[0])]
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


def repository_key(settings: Settings) -> str:
    """Read the secret that loading models requires; made at the first start, in a file that only its owner may read."""
    path = settings.repository_key_file
    if settings.triton.repository_key_file is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        if not path.is_file():
            with written_in_place(path, mode=0o600) as temporary:
                temporary.write_text(secrets.token_urlsafe(32), encoding="utf-8")
        path.chmod(0o600)
    return path.read_text(encoding="utf-8").strip()


def run_quietly(*command: str) -> None:
    """Run a command of the installation. Raises StackError with what it said."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise StackError(f"`{' '.join(command)}` failed; run `make services` again. It said:\n{done.stderr.strip()}")


def lay_out_backends(settings: Settings) -> None:
    """Copy the Python backend and the stub for this Python into one folder; Triton accepts no links in it."""
    wheel, folder = site_packages(settings) / "pytriton" / "tritonserver", backends_dir(settings) / "python"
    stub = wheel / "python_backend_stubs" / PYTHON / "triton_python_backend_stub"
    for file in (*(wheel / "backends" / "python").iterdir(), stub):
        with written_in_place(folder / file.name) as temporary:
            shutil.copyfile(file, temporary)
    (folder / stub.name).chmod(0o755)


class Triton(Service):
    """tritonserver of the wheel, in an environment of its own."""

    name = "triton"
    title = "Triton"
    ports = (
        Port(("triton", "http_port"), 8000),
        Port(("triton", "grpc_port"), 8001),
        Port(("triton", "metrics_port"), 8002),
    )

    def prepare(self, settings: Settings) -> None:
        """Make the model repository, and copy our backend, which may have changed since the installation."""
        check_libpython()
        own_libpython(settings)
        with written_in_place(backends_dir(settings) / "onnxruntime" / "model.py") as temporary:
            shutil.copyfile(BACKEND, temporary)
        settings.service_dir("triton").mkdir(parents=True, exist_ok=True)
        repository_key(settings)

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
        uv = shutil.which("uv", path=BIN) or shutil.which("uv")
        if uv is None:
            raise StackError(f"uv is missing from {BIN}: run `make services`.")
        folder = environment_dir(settings)
        log.info("Triton: making its own environment in %s", folder)
        ready_file(settings).unlink(missing_ok=True)
        python = folder / "bin" / "python"
        if not python.exists():
            shutil.rmtree(folder, ignore_errors=True)  # what an interruption left; uv clears environments alone
            run_quietly(uv, "venv", "--quiet", "--python", sys.executable, str(folder))
        run_quietly(uv, "pip", "sync", "--quiet", "--python", str(python), str(REQUIREMENTS))
        lay_out_backends(settings)
        with written_in_place(ready_file(settings)) as temporary:  # last: what is interrupted is not ready
            temporary.write_text(stamp(), encoding="utf-8")

    def program(self, settings: Settings) -> Program:
        site, triton = site_packages(settings), settings.triton
        libraries = (environment_dir(settings) / "libpython", site / "nvidia_pytriton.libs", libpython_dir())
        return Program(
            command=(
                str(site / "pytriton" / "tritonserver" / "bin" / "tritonserver"),
                f"--model-repository={settings.service_dir('triton')}",
                f"--backend-directory={backends_dir(settings)}",
                *(f"--{kind}-address={LOOPBACK}" for kind in ("http", "grpc", "metrics")),
                f"--http-port={triton.http_port}",
                f"--grpc-port={triton.grpc_port}",
                f"--metrics-port={triton.metrics_port}",
                *FLAGS,
                *restricted(repository_key(settings)),
            ),
            environment={
                "LD_LIBRARY_PATH": ":".join(str(folder) for folder in libraries if folder),
                # Not the caller's PATH, which differs between shells: a changed environment restarts the program.
                "PATH": f"{environment_dir(settings) / 'bin'}:{os.defpath}",
                "PYTHONPATH": str(site),
            },
        )

    def version(self, settings: Settings) -> str:
        self.ask(settings, "/v2/health/ready")
        return str(self.ask(settings, "/v2").json()["version"])


TRITON: Final = Triton()
