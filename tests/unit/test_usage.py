"""What a group of processes uses, against what the kernel says otherwise."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time

from splitter.usage import usage_of


def cpu_s() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def test_it_is_what_the_kernel_says() -> None:
    usage = usage_of([os.getpid()])
    assert abs(usage.cpu_s - cpu_s()) < 0.2
    assert 5e6 < usage.resident_bytes <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert 3 <= usage.open_fds < usage.max_fds
    assert usage.max_fds == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert time.time() - 7200 < usage.started_s <= time.time()


def test_a_child_that_ended_still_counts() -> None:
    """The invariant the metric lives by: CPU time does not go down when a worker is replaced."""
    spin = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", spin], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    before = usage_of([os.getpid(), child.pid])
    alone = usage_of([os.getpid()])
    assert before.cpu_s - alone.cpu_s > 0.2
    assert before.resident_bytes > alone.resident_bytes
    child.communicate("\n")
    assert usage_of([os.getpid(), child.pid]).cpu_s >= before.cpu_s


def test_a_process_that_is_gone_is_left_out() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert usage_of([gone.pid]) == usage_of([])
    assert usage_of([os.getpid(), gone.pid]).open_fds > 0
