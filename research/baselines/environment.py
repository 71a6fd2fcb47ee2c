"""RecTools' environment: it wants numpy < 2, which nothing else here does. Made when it is first needed."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Final

from data_exchange_center.files import sha256, written_in_place
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError

log = logging.getLogger(__name__)

REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")


def python(settings: Settings) -> Path:
    """Its interpreter; the first time some gigabytes are brought.

    Raises StepError with what the installer said.
    """
    folder = settings.services_dir / "rivals"
    ready, interpreter = folder / ".ready", folder / "bin" / "python"
    stamp = f"{sys.version_info.major}.{sys.version_info.minor} {sha256(REQUIREMENTS)}\n"
    if ready.is_file() and ready.read_text(encoding="utf-8") == stamp:
        return interpreter
    log.info("making RecTools' environment in %s", folder)
    ready.unlink(missing_ok=True)
    _run("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
    _run("pip", "sync", "--quiet", "--python", str(interpreter), str(REQUIREMENTS))
    with written_in_place(ready) as temporary:  # last: what is interrupted is not ready
        temporary.write_text(stamp, encoding="utf-8")
    return interpreter


def _run(*arguments: str) -> None:
    uv = Path(sys.executable).with_name("uv")
    done = subprocess.run([str(uv), *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise StepError(f"`uv {' '.join(arguments)}` failed; run `make rivals` again. It said:\n{done.stderr.strip()}")
