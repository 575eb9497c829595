"""A Ray of the tests' own on the loopback address, one for all workers of a run of pytest.

The first worker that needs it starts a process that starts Ray and says where it is; all join it. Each
holds a shared lock as long as it lives, and when nobody does any more, that process stops Ray and ends.

Import this before Ray, which reads the environment when it is imported.

    python tests/ray_cluster.py FOLDER
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests import ray_fork

os.environ.pop("RAY_ADDRESS", None)
os.environ.update(
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # Ray's switch for the loopback address, also on Linux
    RAY_USAGE_STATS_ENABLED="0",
    RAY_enable_worker_prestart="0",  # a Python for each CPU that there only seems to be
    RAY_prestart_worker_first_driver="0",
    RAY_worker_niceness="0",  # or tests, which are not as nice, would wait for them forever on a busy machine
)
# Known to the workers of this run alone, and not one that Ray may have at home.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ.setdefault("RAY_AUTH_TOKEN", os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex))

CPUS = 32  # none of them real: they let many idle actors be there at once
START = 300.0  # seconds
_servers: list[subprocess.Popen[bytes]] = []


def start(home: str) -> str:
    """Start Ray and return its address; on a busy machine it may take more than one attempt."""
    import ray

    sys.executable = ray_fork.make_python(Path(home))  # what Ray starts workers with
    for left in (2, 1, 0):
        try:
            info = ray.init(
                num_cpus=CPUS,
                include_dashboard=False,
                object_store_memory=200_000_000,
                log_to_driver=False,
                logging_level="ERROR",
                _temp_dir=home,
            )
            return str(info.address_info["gcs_address"])
        except Exception:
            ray.shutdown()
            if not left:
                raise
    raise AssertionError


def serve(folder: Path) -> None:
    """Be the process that has Ray."""
    import ray

    home = tempfile.mkdtemp(prefix="ray-")  # short: the names of sockets must be
    address = start(home)
    beside = folder / "ray.json.tmp"
    beside.write_text(json.dumps({"address": address}))
    os.replace(beside, folder / "ray.json")
    with open(folder / "users", "w") as users:
        while True:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.2)
        (folder / "ray.json").unlink()  # whoever comes now waits for the lock, and starts another
        ray.shutdown()
    shutil.rmtree(home, ignore_errors=True)


def join(folder: Path) -> IO[str]:
    """Connect this process to the Ray of a folder, started if need be; close what is returned."""
    users = open(folder / "users", "a")  # noqa: SIM115
    fcntl.flock(users, fcntl.LOCK_SH)
    with open(folder / "starting", "w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        if not (folder / "ray.json").exists():
            with open(folder / "ray.log", "w") as log:
                _servers.append(
                    subprocess.Popen(
                        [sys.executable, __file__, str(folder)],
                        stdout=log,
                        stderr=log,
                        stdin=subprocess.DEVNULL,
                    )
                )
            until = time.monotonic() + START
            while not (folder / "ray.json").exists():
                if time.monotonic() > until:
                    raise TimeoutError(f"Ray did not start: {(folder / 'ray.log').read_text()[-2000:]}")
                time.sleep(0.1)
    import ray

    address = json.loads((folder / "ray.json").read_text())["address"]
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    return users


def leave(users: IO[str]) -> None:
    """End what `join` began; who started Ray waits until nobody needs it any more."""
    import ray

    ray.shutdown()
    users.close()
    for server in _servers:
        server.wait()
    _servers.clear()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
