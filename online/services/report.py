"""What a person is shown of the stack: the status table and the end of a log."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from rich.table import Table

from data_exchange_center.settings import Settings
from online.services import catalogue
from online.services.service import NotReadyError, Service
from online.services.supervision import Supervisor


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
    table = Table("service", "version", "ports", "pid", "since", "memory", "ready", title=str(settings.exchange_dir))
    all_ready = True
    for service in catalogue.PROGRAMS:
        info = processes.get(service.name, {})
        row, ready = _row(settings, service, info)
        table.add_row(*row)
        all_ready &= ready or (service is catalogue.SERVER and info.get("statename", "STOPPED") == "STOPPED")
    return table, all_ready


def _row(settings: Settings, service: Service, info: dict[str, Any]) -> tuple[list[str], bool]:
    ports = " ".join(str(port.number(settings)) for port in service.ports)
    pid = info.get("pid", 0)
    if not pid:
        state = str(info.get("statename", "STOPPED")).lower()
        return [service.name, "-", ports, "-", "-", "-", state if state != "fatal" else "ended: see its log"], False
    since = datetime.fromtimestamp(info["start"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    try:
        version, ready = service.version(settings), "yes"
    except NotReadyError as error:
        version, ready = "-", f"no: {error}"
    return [service.name, version, ports, str(pid), since, f"{memory_mb(pid):.0f} MB", ready], ready == "yes"
