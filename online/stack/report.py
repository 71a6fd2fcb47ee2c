"""What a person is shown of the stack: the status table and the end of a log."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from rich.box import SIMPLE_HEAD
from rich.table import Table

from data_exchange_center.settings import Settings
from online.stack import catalogue
from online.stack.server import SERVER
from online.stack.service import NotReadyError, Service
from online.stack.supervision import Supervisor


def tail(path: Path, lines: int) -> str:
    """The last lines of a text file; of one that does not exist, a sentence that says so."""
    if not path.is_file():
        return f"({path} does not exist)"
    with path.open(encoding="utf-8", errors="replace") as file:
        return "".join(deque(file, lines)).rstrip()


def memory_mb(pid: int) -> float:
    """Memory of a process and its descendants in MB; pages they share are counted once."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(member.memory_full_info().pss for member in family) / 1e6
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0


def status_table(settings: Settings, supervisor: Supervisor) -> tuple[Table, bool]:
    """The table, and whether each of the four services is ready. The server counts once it has been started."""
    processes = supervisor.processes()
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("service", "ready", "version", "ports", "pid", "since", "memory"):
        table.add_column(heading, no_wrap=True)
    waiting, all_ready = [], True
    for service in catalogue.PROGRAMS:
        info = processes.get(service.name, {})
        row, reason = _row(settings, service, info)
        table.add_row(*row)
        if reason and not (service is SERVER and reason == "stopped"):
            all_ready = False
            waiting.append(f"{service.title}: {reason}")
    table.caption = "\n".join([str(settings.exchange_dir), *waiting])
    table.caption_justify = "left"
    return table, all_ready


def _row(settings: Settings, service: Service, info: dict[str, Any]) -> tuple[list[str], str | None]:
    """A service's row, and why it is not ready."""
    ports = " ".join(str(port.number(settings)) for port in service.ports)
    pid = info.get("pid", 0)
    if not pid:
        state = str(info.get("statename", "STOPPED"))
        stopped = "stopped" if state == "STOPPED" else f"ended ({state.lower()}), see {service.log(settings)}"
        return [service.name, "stopped" if state == "STOPPED" else "no", "-", ports, "-", "-", "-"], stopped
    since = datetime.fromtimestamp(info["start"]).astimezone().strftime("%m-%d %H:%M")
    reason: str | None = None
    try:
        version = service.version(settings)
    except NotReadyError as error:
        version, reason = "-", str(error)
    ready = "no" if reason else "yes"
    return [service.name, ready, version, ports, str(pid), since, f"{memory_mb(pid):.0f} MB"], reason
