"""Marks of workers, and what a worker that is told to stop makes of them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from online.web.worker import PatientWorker
from online.web.worker_marks import WorkerMarks

OTHER, ANOTHER = 4_000_001, 4_000_002  # pids that no process has


@pytest.fixture
def marks(tmp_path: Path) -> WorkerMarks:
    return WorkerMarks(tmp_path / "server" / "workers-1")


def test_before_the_first_mark_there_is_no_folder_and_no_worker(marks: WorkerMarks) -> None:
    assert marks.pids() == set()
    assert not marks.stopping()
    marks.remove(OTHER)
    marks.add(OTHER)
    assert marks.pids() == {OTHER}


def test_clearing_keeps_the_folder_for_the_worker_that_is_about_to_leave_its_mark(marks: WorkerMarks) -> None:
    marks.add(OTHER)
    marks.stop()
    folder = os.open(marks.folder, os.O_RDONLY)
    try:
        marks.clear()
        assert os.path.samestat(os.fstat(folder), marks.folder.stat())
    finally:
        os.close(folder)
    assert marks.pids() == set()
    assert not marks.stopping()


@pytest.fixture
def worker(marks: WorkerMarks) -> PatientWorker:
    """One of two, as far as stopping needs it."""
    worker = PatientWorker.__new__(PatientWorker)
    worker.pid, worker.alive, worker.cfg = os.getpid(), True, SimpleNamespace(workers=2)
    worker.poller = SimpleNamespace()
    worker.method_queue = SimpleNamespace(defer=lambda *_: None)
    worker._marks, worker._being_replaced = marks, False
    return worker


def told_to_stop(worker: PatientWorker) -> bool:
    """Whether it goes on."""
    worker.handle_exit(signal.SIGTERM, None)
    worker._stop_if_replaced()
    return worker.alive


def test_a_worker_that_answers_stops_when_it_is_told_to(worker: PatientWorker, marks: WorkerMarks) -> None:
    marks.add(worker.pid)
    assert not told_to_stop(worker)


def test_one_that_is_to_be_replaced_goes_on_until_enough_others_answer(
    worker: PatientWorker, marks: WorkerMarks
) -> None:
    assert told_to_stop(worker)
    marks.add(OTHER)
    assert told_to_stop(worker)
    marks.add(ANOTHER)
    worker._stop_if_replaced()
    assert not worker.alive


def test_once_it_stops_it_stays_so_when_a_new_one_dies(worker: PatientWorker, marks: WorkerMarks) -> None:
    assert told_to_stop(worker)
    marks.add(OTHER)
    marks.add(ANOTHER)
    worker._stop_if_replaced()
    marks.remove(OTHER)
    worker._stop_if_replaced()
    assert not worker.alive


def test_a_server_that_stops_while_its_workers_are_replaced_stops_the_old_ones_too(
    worker: PatientWorker, marks: WorkerMarks
) -> None:
    assert told_to_stop(worker)
    marks.stop()
    assert not told_to_stop(worker)


def test_one_that_was_told_before_it_answered_stops_as_soon_as_it_does(
    worker: PatientWorker, marks: WorkerMarks
) -> None:
    assert told_to_stop(worker)
    marks.add(worker.pid)
    worker._stop_if_replaced()
    assert not worker.alive
