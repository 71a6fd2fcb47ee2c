"""Triton Inference Server: scores of the ranking model."""

import logging
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

from data_exchange_center.files import sha256, written_in_place
from data_exchange_center.settings import TRITON_SOCKET, Settings
from online.clients.triton import TritonScores
from stack.service import (
    LOOPBACK,
    ROOT,
    Program,
    Service,
    StackError,
    pinged,
)

log = logging.getLogger(__name__)

VERSION: Final = "2.51.0"
HERE: Final = Path(__file__).parent
REQUIREMENTS: Final = HERE / "requirements.txt"
BACKEND: Final = HERE / "backends" / "onnxruntime" / "model.py"
# those the wheel has a stub for
MINORS: Final = range(8, 14)
PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
LIBPYTHON: Final = f"libpython{PYTHON}.so.1.0"
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


def ready_file(settings: Settings) -> Path:
    """File of an environment that is whole; it says what of."""
    return environment_dir(settings) / ".ready"


def _made_of() -> str:
    return f"{PYTHON} {sha256(REQUIREMENTS)}\n"


def is_ready(file: Path) -> bool:
    """Whether an environment's `ready_file` is of these requirements."""
    return file.is_file() and file.read_text() == _made_of()


def libpython_dir() -> Path | None:
    """The folder with this Python's shared library, which Triton's stub links to; None when there is none."""
    libraries = sysconfig.get_config_var("LIBDIR")
    folders = (
        libraries,
        f"{sys.base_prefix}/lib",
        f"{libraries}/{sysconfig.get_config_var('MULTIARCH')}",
        *os.environ.get("LD_LIBRARY_PATH", "").split(":"),
    )
    for folder in filter(None, folders):
        if (Path(folder) / LIBPYTHON).is_file():
            return Path(folder)
    return None


def check_python() -> Path:
    """The folder with libpython. Raises StackError where Triton cannot run with this Python."""
    if sys.version_info[1] not in MINORS or sys.platform != "linux":
        raise StackError(
            f"the local Triton runs on Linux with Python 3.{MINORS[0]} to 3.{MINORS[-1]}, this is "
            f"Python {PYTHON} on {sys.platform}: make the environment with another Python, or use Docker."
        )
    folder = libpython_dir()
    if folder is None:
        raise StackError(
            f"Triton's Python stub needs {LIBPYTHON}, and {sys.executable} has none: install it "
            f"(Debian and Ubuntu: libpython{PYTHON}), or add the folder that has it to LD_LIBRARY_PATH."
        )
    return folder


def replace_libpython(settings: Settings) -> None:
    """Have the stub load this Python's library.

    For Python 3.13 the wheel brings a libpython of its own, of the first 3.13, which cannot load the standard library
    of a later one: a link to this Python's replaces it. Other versions bring none.
    """
    libraries = site_packages(settings) / "nvidia_pytriton.libs"
    for bundled in libraries.glob(f"libpython3-*.{sys.version_info[1]}.so.1.0"):
        bundled.unlink()
        bundled.symlink_to(check_python() / LIBPYTHON)


def uv(*arguments: str) -> None:
    """Run uv. Raises StackError with what it said."""
    command = (sys.executable, "-m", "uv", "--quiet", *arguments)
    done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise StackError(
            f"`{' '.join(command)}` failed; run `make setup` again. It said:\n{done.stderr.strip()}"
        )


def lay_out_backends(settings: Settings) -> None:
    """Copy the Python backend and the stub for this Python into one folder; Triton accepts no links in it."""
    wheel = site_packages(settings) / "pytriton" / "tritonserver"
    folder = backends_dir(settings) / "python"
    stub = "triton_python_backend_stub"
    shutil.copytree(wheel / "backends" / "python", folder)
    shutil.copy(wheel / "python_backend_stubs" / PYTHON / stub, folder)
    (folder / stub).chmod(0o755)


class Triton(Service):
    """tritonserver of the wheel, in an environment of its own."""

    name = "triton"
    title = "Triton"
    ports = ("http_port", "metrics_port")

    def install(self, settings: Settings) -> None:
        """Make Triton's virtual environment, unless it is complete."""
        check_python()
        ready, folder = ready_file(settings), environment_dir(settings)
        if is_ready(ready):
            return
        log.info("Triton: making its own environment in %s", folder)
        ready.unlink(missing_ok=True)
        # what an interruption left; uv clears environments alone
        shutil.rmtree(folder, ignore_errors=True)
        uv("venv", "--python", sys.executable, str(folder))
        uv("pip", "sync", "--python", str(folder), str(REQUIREMENTS))
        lay_out_backends(settings)
        # last: what is interrupted is not ready
        ready.write_text(_made_of())

    def check(self, settings: Settings) -> None:
        check_python()
        if not is_ready(ready_file(settings)):
            raise StackError(
                f"Triton's environment is missing from {environment_dir(settings)}, or not up to date: "
                "run `make setup`."
            )

    def prepare(self, settings: Settings) -> None:
        """Copy our backend, which may have changed since the installation."""
        super().prepare(settings)
        replace_libpython(settings)
        copied = backends_dir(settings) / "onnxruntime" / BACKEND.name
        with written_in_place(copied, mode=0o644) as temporary:
            shutil.copyfile(BACKEND, temporary)

    def program(self, settings: Settings) -> Program:
        """Triton on a Unix socket that its owner alone reaches, or, with RECSYS_TRITON__NODES, on a port of loopback.

        Its metrics are on a port in either case: Prometheus reads no sockets.
        """
        site, triton = site_packages(settings), settings.triton
        environment = environment_dir(settings)
        libraries = (site / "nvidia_pytriton.libs", libpython_dir())
        folder = triton.socket_dir
        command = (
            *(sys.executable, "-I", str(HERE / "keep_umask.py")),
            *(str(folder or ROOT), TRITON_SOCKET),
            str(site / "pytriton" / "tritonserver" / "bin" / "tritonserver"),
            f"--model-repository={settings.service_dir('triton')}",
            f"--backend-directory={backends_dir(settings)}",
            f"--http-address={f'unix:{TRITON_SOCKET}' if folder else LOOPBACK}",
            f"--http-port={triton.http_port}",
            f"--metrics-address={LOOPBACK}",
            f"--metrics-port={triton.metrics_port}",
        )
        variables = {
            "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
            # Not the caller's PATH, which differs between shells: a changed environment restarts the program.
            "PATH": f"{environment / 'bin'}:{os.defpath}",
            "PYTHONPATH": str(site),
        }
        return Program((*command, *FLAGS), variables)

    def version(self, settings: Settings) -> str:
        # the one that runs here, of several
        here = settings.triton.model_copy(update={"nodes": ""})
        return pinged(TritonScores(here))


TRITON: Final = Triton()
