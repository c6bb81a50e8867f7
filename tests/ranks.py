"""Runs the function `main` of a script in the ranks of a job.

Ranks are forks of one process a session, which has imported what takes longer than what they do. Run as a program, this is that
process: a line of JSON on stdin is a list of jobs, [SCRIPT, COUNT, [ARGUMENT, ...]] each, and is answered by `ok` or `failed`.
"""

import atexit
import contextlib
import functools
import importlib
import json
import multiprocessing.connection
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 300
"""How long a rank may take, so that none waits for ever."""
ALONE = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": "lo"}
SLOW_IMPORTS = ("deepspeed", "torch._dynamo", "transformers", "mooer.train.run")


def run_ranks(script, counts, *arguments):
    """Run `main(*arguments)` of `script` in as many ranks as each of `counts`, one job after another; all must succeed."""
    process, log = _process()
    before = Path(log.name).stat().st_size
    print(json.dumps([[script, count, list(map(str, arguments))] for count in counts]), file=process.stdin, flush=True)
    answer = process.stdout.readline().strip()
    assert answer == "ok", Path(log.name).read_text(errors="replace")[before:][-3000:]


@functools.cache
def _process():
    """The process that is forked, which ends with this one, and the file that it and the ranks write messages to."""
    log = tempfile.NamedTemporaryFile(prefix="ranks.")  # noqa: SIM115 (it lasts as long as the session)
    environment = os.environ | ALONE | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
    process = subprocess.Popen([sys.executable, __file__], env=environment, text=True, **pipes)
    atexit.register(process.communicate)
    return process, log


def _be_rank(script, arguments, place):
    signal.alarm(SECONDS)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    os.environ.update({name: str(value) for name, value in place.items()})
    runpy.run_path(script, run_name="ranks")["main"](*arguments)


def _succeeds(script, count, arguments):
    """Whether `count` ranks all end well; when one does not, the others are ended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    job = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    places = [job | {"RANK": rank, "LOCAL_RANK": rank} for rank in range(count)]
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=_be_rank, args=(script, arguments, place)) for place in places]
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


def _serve():
    for name in SLOW_IMPORTS:
        importlib.import_module(name)
    for line in sys.stdin:
        print("ok" if all(_succeeds(*job) for job in json.loads(line)) else "failed", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        _serve()
