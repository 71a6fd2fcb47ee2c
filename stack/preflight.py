"""Checks before anything starts; each failure is one sentence that says how to fix it."""

import fcntl
import os
import shutil
import socket
from collections.abc import Iterable, Sequence
from typing import Final

import psutil

from data_exchange_center.settings import Settings
from stack.redis import LOCK
from stack.service import LOOPBACK, ROOT, Service, StackError
from stack.supervision import members

NEEDED_BYTES: Final = 2 * 10**9
_HERE: Final = (LOOPBACK, "localhost", "::1")
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 (compared, not bound)


def check(settings: Settings, services: Sequence[Service]) -> None:
    """Check that these services can run. Raises StackError with the first obstacle."""
    check_paths(settings)
    check_folder(settings)
    for service in services:
        service.check(settings)
        check_host(settings, service)
    check_containers(settings)
    check_ports(settings, services)


def check_paths(settings: Settings) -> None:
    """Refuse paths that the services' own libraries cannot open: pycurl, Triton's stub and Java's JNA read ASCII."""
    for folder in (ROOT, settings.services_dir, settings.exchange_dir):
        if not str(folder).isascii():
            raise StackError(
                f"Elasticsearch, Feast and Triton cannot work in {folder}, a path with letters other than ASCII's: "
                "choose another one, with RECSYS_SERVICES_DIR or RECSYS_EXCHANGE_DIR."
            )


def check_folder(settings: Settings) -> None:
    """Refuse an exchange folder of another user, who could change what is in it, or on a full disk; close it to others.

    The owner of the machine, root, may use any.
    """
    online = settings.exchange_dir / "online"
    online.mkdir(parents=True, exist_ok=True)
    elsewhere = "choose another folder with RECSYS_EXCHANGE_DIR."
    for folder in (settings.exchange_dir, online):
        owner, user = folder.stat().st_uid, os.geteuid()
        if user not in (owner, 0):
            raise StackError(
                f"{folder} belongs to user {owner}, and you are user {user}: {elsewhere}"
            )
    online.chmod(0o700)
    free = shutil.disk_usage(online).free
    if free < NEEDED_BYTES:
        raise StackError(
            f"the disk of {online} has {free / 1e9:.1f} GB free and {NEEDED_BYTES / 1e9:.0f} GB are needed: "
            f"free space, or {elsewhere}"
        )


def check_host(settings: Settings, service: Service) -> None:
    """Refuse a host other than loopback, and, for the server, which alone has keys, than that of all networks."""
    host = getattr(settings, service.name).host
    allowed = (*_HERE, _EVERYWHERE) if service.name == "server" else _HERE
    if host not in allowed:
        raise StackError(
            f"RECSYS_{service.name.upper()}__HOST is {host!r}, but here {service.title} listens on "
            f"{' or '.join(allowed)}: unset it, or use Docker for services elsewhere."
        )


def check_containers(settings: Settings) -> None:
    """Raises StackError while Redis in a container, on whatever port, has its data in this folder."""
    try:
        with (settings.service_dir("redis") / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StackError(
            f"containers run on {settings.exchange_dir}: end them first (make docker-down), "
            "or choose another folder with RECSYS_EXCHANGE_DIR."
        ) from None
    except OSError:  # no container was ever here, or its files are another user's
        return


def check_ports(settings: Settings, services: Iterable[Service]) -> None:
    """Refuse a port that two of the services are to have, or that a program outside this stack has."""
    claimed: dict[int, tuple[str, str]] = {}  # port -> who needs it, what moves it
    for service in services:
        for variable, number in service.numbers(settings).items():
            if number in claimed:
                raise StackError(
                    f"{variable} and {claimed[number][1]} are both {number}: change one of them."
                )
            claimed[number] = service.title, variable
    for number in filter(is_taken, claimed):
        title, variable = claimed[number]
        process = listener(number)
        if process in members(settings):  # it runs on it, or is stopped before that
            continue
        holder = (
            f"pid {process.pid}, {process.name()}" if process else "another program"
        )
        raise StackError(
            f"port {number}, which {title} needs, is taken ({holder}): "
            f"stop that, or choose another port with {variable}."
        )


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        # a port that was just closed is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return True
    return False


def listener(port: int) -> psutil.Process | None:
    """The process that listens on a port; None where this user may not know."""
    for connection in psutil.net_connections("tcp"):
        address, listens = connection.laddr, connection.status == psutil.CONN_LISTEN
        if listens and address and address.port == port and connection.pid:
            return psutil.Process(connection.pid)
    return None
