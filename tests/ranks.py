"""Runs the function `main` of a script in the ranks of one job: `ranks.py SCRIPT COUNT,... ARGUMENT...`.

The ranks are forks of one process that has imported what the script needs, which takes longer than what they do.
"""

import multiprocessing.connection
import os
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 300
"""How long a rank may take, so that none waits for ever."""
ALONE = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": "lo"}


def run_ranks(script, counts, *arguments):
    """Run `main(*arguments)` of `script` in as many ranks as each of `counts`, one job after another; all must succeed."""
    command = [sys.executable, __file__, script, ",".join(map(str, counts)), *map(str, arguments)]
    environment = os.environ | ALONE | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def _be_rank(main, arguments, place):
    signal.alarm(SECONDS)
    os.environ.update({name: str(value) for name, value in place.items()})
    main(*arguments)


def _fork(main, arguments, count):
    """Whether `count` ranks all end well; when one does not, the others are ended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    job = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    places = [job | {"RANK": rank, "LOCAL_RANK": rank} for rank in range(count)]
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=_be_rank, args=(main, arguments, place)) for place in places]
    for rank in ranks:
        rank.start()
    waiting = list(ranks)
    while waiting:
        multiprocessing.connection.wait([rank.sentinel for rank in waiting])
        waiting = [rank for rank in waiting if rank.exitcode is None]
        if any(rank.exitcode for rank in ranks):
            for rank in waiting:
                rank.kill()
    return not any(rank.exitcode for rank in ranks)


if __name__ == "__main__":
    script, counts, *arguments = sys.argv[1:]
    main = runpy.run_path(script, run_name="ranks")["main"]
    sys.exit(not all(_fork(main, arguments, int(count)) for count in counts.split(",")))
