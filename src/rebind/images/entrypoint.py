# This file is also read by Python 3.5: it runs with whatever python3 an image has.
# ruff: noqa: UP032, PTH118, SIM105, RUF005
"""Entry point of images: runs the command, forwards signals to it, copies its output to a file, exits with its code."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
from typing import IO, Any  # noqa: F401 (in comments)

TYPES = False
if TYPES:
    pass

LOG = ".jupyter-server-log.txt"
NOT_FORWARDED = {"SIGCHLD", "SIGCLD", "SIGKILL", "SIGSTOP"}


def open_log():
    # type: () -> IO[bytes]
    """The log, in the first place where one can be written."""
    for folder in (os.environ.get("REPO_DIR"), ".", tempfile.gettempdir()):
        if folder:
            try:
                return open(os.path.join(folder, LOG), "ab", 0)
            except OSError:
                pass
    raise SystemExit(
        "No place for {}: the repository, the current and the temporary folder are not writable".format(LOG)
    )


def copy(source, log):
    # type: (IO[bytes], IO[bytes]) -> None
    """Output to our own and to the log; a full disk or a closed output ends one copy, not the server."""
    # What writing to a closed pipe raises is for us; the same signal from elsewhere goes to the main thread.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPIPE])
    outputs = [getattr(sys.stdout.buffer, "raw", sys.stdout.buffer), log]  # type: list[Any]
    while True:
        data = os.read(source.fileno(), 65536)
        if not data:
            return
        for output in list(outputs):
            try:
                rest = data
                while rest:
                    rest = rest[output.write(rest) or 0 :]
            except (OSError, ValueError):
                outputs.remove(output)


def forward(child, early):
    # type: (list[int], list[int]) -> None
    for number in range(1, signal.NSIG):
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = "real-time"
        if name in NOT_FORWARDED:
            continue

        def handler(received, _):
            # type: (int, object) -> None
            if not child:
                early.append(received)
                return
            try:
                os.kill(child[0], received)
            except OSError:
                pass

        try:
            signal.signal(number, handler)
        except (OSError, ValueError, RuntimeError):
            pass


def wait(pid):
    # type: (int) -> int
    """The exit code of the child. As first process of a container we also get the orphans."""
    while True:
        try:
            ended, status = os.waitpid(-1, 0)
        except InterruptedError:
            continue
        if ended == pid:
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def start(command):
    # type: (list[str]) -> subprocess.Popen[bytes]
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    # A script without `#!`, which a shell runs itself.
    return subprocess.Popen(["/bin/sh"] + command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)


def main(argv):
    # type: (list[str]) -> int
    command = ([os.environ["R2D_ENTRYPOINT"]] if os.environ.get("R2D_ENTRYPOINT") else []) + argv
    if not command:
        raise SystemExit("No command was given")
    if sys.stdout.isatty():  # a person at a terminal, who wants line editing and job control
        os.execvp(command[0], command)
    log = open_log()
    child = []  # type: list[int]
    early = []  # type: list[int]
    forward(child, early)
    try:
        process = start(command)
    except OSError as error:
        sys.stderr.write("{}: {}\n".format(command[0], error.strerror))
        return 127 if isinstance(error, FileNotFoundError) else 126
    child.append(process.pid)
    for received in early:
        os.kill(process.pid, received)
    copier = threading.Thread(target=copy, args=(process.stdout, log), daemon=True)
    copier.start()
    code = wait(process.pid)
    copier.join(2)
    return code


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
