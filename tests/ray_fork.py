"""Workers of Ray as forks of one process that has imported what all of them import.

An actor's process imports Ray, NumPy and Inlay, a second of work, before it does anything; a test of the
collection that is run on shards has three to five of them. Ray starts a worker by a command that begins with
the Python it runs in. It is told another one, a script that leads here, and this asks a process that has
everything ready to fork: 0.2 s of work. Killing, restarting and everything else is as ever.

    python -IS tests/ray_fork.py FOLDER .../default_worker.py ...         in the place of Python
    python     tests/ray_fork.py FOLDER                                   the process that forks

There is one of the latter for each driver, whose number Ray reads from the environment as it is imported.
"""

import fcntl
import json
import os
import shlex
import socket
import sys
from pathlib import Path


def make_python(folder: Path) -> str:
    """Write the script to take for Python, and return its path; what is no worker it leaves to Python."""
    script = folder / "python"
    real, this = shlex.quote(sys.executable), shlex.quote(__file__)
    script.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *default_worker.py*) exec {real} -IS {this} {shlex.quote(str(folder))} "$@" ;; esac\n'
        f'exec {real} "$@"\n'
    )
    script.chmod(0o755)
    return str(script)


def _address(folder: str) -> str:
    return f"{folder}/{os.environ['RAY_JOB_ID']}.fork"


def ask(folder: str, arguments: list[str]) -> None:
    """Be what Ray takes for the worker: let it be forked, and end when it does."""
    address = _address(folder)
    with open(f"{address}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(address):
            _start(folder, address)
    worker = next(i for i, argument in enumerate(arguments) if argument.endswith("default_worker.py"))
    wanted = {"argv": arguments[worker:], "env": dict(os.environ), "cwd": os.getcwd()}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [b"\0"], [0, 1, 2])
        connection.sendall(json.dumps(wanted).encode() + b"\n")
        connection.recv(1)


def _start(folder: str, address: str) -> None:
    import subprocess
    import time

    with open(f"{address}.log", "w") as log:
        forking = subprocess.Popen(
            [sys.executable, __file__, folder],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    while not os.path.exists(address) and forking.poll() is None:
        time.sleep(0.01)


def serve(folder: str) -> None:
    """Fork whenever asked to, as long as Ray runs."""
    import signal

    import inlay.adapters.ray  # noqa: F401

    address = _address(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{address}.new")
        listener.listen()
        listener.settimeout(1.0)
        os.rename(f"{address}.new", address)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
        while os.path.exists(f"/proc/{os.environ['RAY_RAYLET_PID']}"):
            try:
                connection = listener.accept()[0]
            except TimeoutError:
                continue
            connection.settimeout(None)
            if not os.fork():
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _become_worker(connection)
            connection.close()


def _become_worker(connection: socket.socket) -> None:
    import runpy

    files = socket.recv_fds(connection, 1, 3)[1]
    with connection.makefile("rb") as stream:
        wanted = json.loads(stream.readline())
    os.setsid()
    for place, file in enumerate(files):
        os.dup2(file, place)
        os.close(file)
    os.environ.clear()
    os.environ.update(wanted["env"])
    os.chdir(wanted["cwd"])
    sys.argv = wanted["argv"]
    runpy.run_path(sys.argv[0], run_name="__main__")  # the connection ends with this process
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[2:]:
        ask(sys.argv[1], sys.argv[2:])
    else:
        serve(sys.argv[1])
