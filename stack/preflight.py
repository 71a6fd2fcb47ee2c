"""Checks before anything starts; each failure is one sentence that says how to fix it."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Iterable, Sequence
from typing import Final

import psutil

from data_exchange_center.settings import Settings
from stack.redis.service import LOCK
from stack.service import LOOPBACK, ROOT, Service, StackError
from stack.supervision import members
from stack.triton.service import check_libpython, check_python

ROOT_UID: Final = 0
NEEDED_BYTES: Final = 2 * 10**9
_HERE: Final = (LOOPBACK, "localhost", "::1")
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 (compared, not bound)


def check(
    settings: Settings, services: Sequence[Service], running: Sequence[Service] = ()
) -> None:
    """Check that these services can start, beside those that run. Raises StackError with the first obstacle."""
    names = {service.name for service in services}
    if "triton" in names:
        check_python()
        check_libpython()
    check_paths(settings)
    check_owner(settings)
    check_software(settings, services)
    check_hosts(settings, [service for service in services if service.name != "server"])
    if any(service.name == "server" for service in (*services, *running)):
        check_server_host(settings)
        check_names(settings)
    check_disk(settings)
    if "redis" in names:
        check_containers(settings)
    check_ports(settings, [*services, *running])


def check_paths(settings: Settings) -> None:
    """Refuse paths that the services' own libraries cannot open: pycurl, Triton's stub and Java's JNA read ASCII."""
    folders = {
        "this folder": ROOT,
        "RECSYS_SERVICES_DIR": settings.services_dir,
        "RECSYS_EXCHANGE_DIR": settings.exchange_dir,
    }
    for name, folder in folders.items():
        if not str(folder.absolute()).isascii():
            raise StackError(
                f"{name} is {folder.absolute()}, and Elasticsearch, Feast and Triton cannot work in a path with "
                "letters other than ASCII's: choose another one."
            )


def check_software(settings: Settings, services: Iterable[Service]) -> None:
    for service in services:
        if what := service.missing(settings):
            raise StackError(f"{what}: run `make setup`.")


def check_hosts(settings: Settings, services: Iterable[Service]) -> None:
    """Refuse a host other than loopback for the four services: the server alone has keys."""
    for service in services:
        host, variable = (
            getattr(settings, service.name).host,
            f"RECSYS_{service.name.upper()}__HOST",
        )
        if host not in _HERE:
            raise StackError(
                f"{variable} is {host!r}, but the local {service.title} runs on this machine and listens on "
                f"{LOOPBACK} alone: unset it, or use Docker for services elsewhere; to open the server to others, set "
                f"RECSYS_SERVER__HOST to {_EVERYWHERE}."
            )
        if service.name == "elasticsearch" and settings.elasticsearch.scheme != "http":
            raise StackError(
                "RECSYS_ELASTICSEARCH__SCHEME is 'https', but the local Elasticsearch speaks http: unset it."
            )


def check_server_host(settings: Settings) -> None:
    """Refuse an address for the server that is neither this machine's alone nor that of all its networks."""
    if settings.server.host not in (*_HERE, _EVERYWHERE):
        raise StackError(
            f"RECSYS_SERVER__HOST is {settings.server.host!r}, but the local server listens on {LOOPBACK} or, open to "
            f"other machines, on {_EVERYWHERE}: set it to one of them."
        )


def check_names(settings: Settings) -> None:
    """Refuse a host of the services that the server calls whose name nobody knows."""
    for name in ("redis", "elasticsearch", "feast", "triton"):
        host = getattr(settings, name).host
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            raise StackError(
                f"RECSYS_{name.upper()}__HOST is {host!r}, and no host has that name ({error.strerror}): correct it."
            ) from error


def check_owner(settings: Settings) -> None:
    """Refuse an exchange folder of another user, who could change what is in it, and close it to all others."""
    online = settings.exchange_dir / "online"
    online.mkdir(parents=True, exist_ok=True)
    for folder in (settings.exchange_dir, online):
        owner = folder.stat().st_uid
        if os.geteuid() not in (owner, ROOT_UID):
            raise StackError(
                f"{folder} belongs to user {owner}, and you are user {os.geteuid()}: choose a folder of your own with "
                "RECSYS_EXCHANGE_DIR."
            )
    online.chmod(0o700)


def check_disk(settings: Settings) -> None:
    folder = settings.exchange_dir
    folder.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder).free) < NEEDED_BYTES:
        raise StackError(
            f"the disk of {folder} has {free / 1e9:.1f} GB free and {NEEDED_BYTES / 1e9:.0f} GB are needed: "
            "free space, or choose another folder with RECSYS_EXCHANGE_DIR."
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
    # port -> title of its service, variable that moves it
    claimed: dict[int, tuple[str, str]] = {}
    for service in services:
        for port in service.ports:
            for number in port.numbers(settings):
                if number in claimed:
                    raise StackError(
                        f"{port.variable} and {claimed[number][1]} are both {number}: change one of them."
                    )
                claimed[number] = service.title, port.variable
    for number, (title, variable) in claimed.items():
        if not is_taken(number):
            continue
        process = listener(number)
        if process in members(settings):  # it runs on it, or is stopped before that
            continue
        holder = (
            f"{process.name()} (pid {process.pid})" if process else "another program"
        )
        raise StackError(
            f"port {number}, which {title} needs, is taken by {holder}: "
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
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens = (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr.port == port
            )
            if listens and connection.pid:
                return psutil.Process(connection.pid)
    except psutil.Error:
        pass
    return None
