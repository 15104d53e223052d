"""Worker processes that answer one line with one line: unpacking and compiling are the CPU's work, and Python has one
interpreter lock. They are started on first need and end with their pool, or when we die (end of their input)."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Sequence

from rebind.errors import BuildError

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_PASSED = ("PATH", "TMPDIR")


class WorkerDiedError(BuildError):
    """The worker ended in the middle of a job, for instance at its memory limit."""


class Worker:
    """One process."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _PASSED if name in os.environ}
            | {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"},  # .pyc of before 3.11 hold sets
            start_new_session=True,  # Ctrl-C is ours to handle
            text=True,
            encoding="utf-8",
        )

    def ask(self, job: object, timeout: float | None = None) -> object:
        """The answer to one job. Raises WorkerDiedError."""
        assert self._process.stdin
        assert self._process.stdout
        watch = threading.Timer(timeout, self._process.kill) if timeout else None
        if watch:
            watch.start()
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            answer: object = json.loads(self._process.stdout.readline())
        except (OSError, ValueError) as error:
            self.close()
            raise WorkerDiedError(f"A worker process ended (code {self._process.returncode}).") from error
        finally:
            if watch:
                watch.cancel()
        return answer

    def end(self) -> None:
        """From another thread than the one that asks: its reading ends with the process."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                assert stream
                stream.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()


class Pool:
    """At most `size` workers of one kind, each used by one thread at a time."""

    def __init__(self, argv: Sequence[str], size: int = CPUS) -> None:
        self._argv = list(argv)
        self._free: queue.SimpleQueue[Worker | None] = queue.SimpleQueue()
        for _ in range(size):
            self._free.put(None)
        self._all: list[Worker] = []
        self._closed = False

    def ask(self, job: object, timeout: float | None = None) -> object:
        """The answer of the next free worker. Raises WorkerDiedError; the pool goes on with a new one."""
        worker = self._free.get()
        try:
            if self._closed:
                raise WorkerDiedError("The workers were stopped.")
            if worker is None:
                worker = Worker(self._argv)
                self._all.append(worker)
            return worker.ask(job, timeout)
        except WorkerDiedError:
            worker = None
            raise
        finally:
            self._free.put(worker)

    def close(self) -> None:
        """Ends the workers, also those at work: who waits for an answer gets WorkerDiedError."""
        self._closed = True
        for worker in self._all:
            worker.end()
