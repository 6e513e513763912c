"""What the benchmarks share: a private PostgreSQL, and ways to see what a process costs.

Everything lives under build/bench, listens on loopback ports of its own, and is gone when the benchmark ends.
"""

import atexit
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "lib"))
from waiting import wait_until

WORK = ROOT / "build" / "bench"
now = time.perf_counter
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def newest_client_program(name):
    """psql and pgbench of the newest installed PostgreSQL: the wrappers in /usr/bin cost a Perl start each."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: int(p.parts[4].split(".")[0]))
    return str(found[-1]) if found else name


class Postgres:
    """The upstream that everything in a run shares."""

    def __init__(self, **settings):
        WORK.mkdir(parents=True, exist_ok=True)
        self.directory = WORK / "postgres"
        arguments = [f"{name}={value}" for name, value in settings.items()]
        started = subprocess.run([ROOT / "tools/postgres", "start", self.directory, *arguments], check=True, text=True,
                                 stdout=subprocess.PIPE)
        atexit.register(self.stop)
        self.port = int(started.stdout)

    def stop(self):
        subprocess.run([ROOT / "tools/postgres", "stop", self.directory], check=False)

    def cpu_seconds(self):
        """Time on a CPU of all its processes, also of those that have ended."""
        postmaster = int((self.directory / "data/postmaster.pid").read_text().split()[0])
        seconds = cpu_seconds(postmaster)
        for backend in pathlib.Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split():
            try:
                seconds += cpu_seconds(backend)
            except (FileNotFoundError, ProcessLookupError):
                pass  # it ended in the meantime, and is among these:
        ended = pathlib.Path(f"/proc/{postmaster}/stat").read_text().rpartition(")")[2].split()[13:15]
        return seconds + sum(map(int, ended)) / CLOCK_TICKS

    def sql(self, text):
        """The rows of `text`, unaligned, one a line."""
        done = subprocess.run([newest_client_program("psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p",
                               str(self.port), "-U", "postgres", "-d", "postgres", "-c", text], check=True, text=True,
                              stdout=subprocess.PIPE, env={**os.environ, "PGOPTIONS": "-c client_min_messages=warning"})
        return done.stdout.split("\n")[:-1]


def write_file(name, text):
    """A file for a proxy to read, whoever it runs as."""
    path = WORK / name
    WORK.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def raise_descriptor_limit(wanted):
    """Of this process and those that it starts from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
        except (ValueError, PermissionError):
            sys.exit(f"this needs {wanted} open files, and the limit is {hard} (ulimit -Hn)")


# What a process costs, from /proc -------------------------------------------------------------------------------------


def cpu_seconds(pid):
    """Time on a CPU, user and system, of all threads: schedstat counts nanoseconds, stat only clock ticks."""
    try:
        return sum(int((task / "schedstat").read_text().split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()) / 1e9
    except FileNotFoundError:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def forget_peak_memory(pid):
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_memory_kb(pid):
    return status_kb(pid, "VmHWM")


def memory_kb(pid):
    return status_kb(pid, "VmRSS")


def status_kb(pid, field):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise ValueError(f"no {field} of process {pid}")


class SystemCalls:
    """Counts the system calls of a running process, all threads: with perf's tracepoint where the kernel lets us, else strace."""

    def __init__(self, pid):
        self.output = WORK / "system-calls.txt"
        self.output.unlink(missing_ok=True)
        if perf_can_count():
            command = ["perf", "stat", "-x,", "-o", self.output, "-e", "raw_syscalls:sys_enter", "-p", str(pid)]
        else:
            command = ["strace", "-c", "-f", "-U", "calls,name", "-o", self.output, "-p", str(pid)]
        self.tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.wait_until_attached(pid)

    def wait_until_attached(self, pid):
        if self.tracer.args[0] == "strace":
            self.tracer.stderr.readline()  # "strace: Process … attached"
            return
        # perf says nothing. It has attached when it holds an event descriptor for each thread of the process.
        threads = len(os.listdir(f"/proc/{pid}/task"))
        wait_until(lambda: self.tracer.poll() is not None or self.event_descriptors() >= threads, "perf to attach")

    def event_descriptors(self):
        links = []
        for descriptor in pathlib.Path(f"/proc/{self.tracer.pid}/fd").iterdir():
            try:
                links.append(os.readlink(descriptor))
            except OSError:
                pass  # closed in the meantime
        return sum("[perf_event]" in link for link in links)

    def count(self):
        self.tracer.send_signal(signal.SIGINT)
        self.tracer.communicate()
        lines = self.output.read_text().splitlines()
        if self.tracer.args[0] == "perf":
            return sum(int(line.split(",")[0]) for line in lines if "raw_syscalls" in line)
        return next(int(line.split()[0]) for line in lines if line.split()[-1:] == ["total"])


def perf_can_count():
    if not hasattr(perf_can_count, "answer"):
        try:
            done = subprocess.run(["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "true"], capture_output=True, text=True)
            perf_can_count.answer = done.returncode == 0 and "raw_syscalls" in done.stderr and "<not" not in done.stderr
        except FileNotFoundError:
            perf_can_count.answer = False
    return perf_can_count.answer


def user_instructions(proxy, work):
    """User instructions that `proxy` executes from start to end while `work(proxy)` runs, counted by cachegrind."""
    output = WORK / f"{proxy.name}.cachegrind"
    output.write_text("")
    if proxy.user():
        shutil.chown(output, proxy.user())
    proxy.start(["valgrind", "-q", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={output}"])
    try:
        work(proxy)
    finally:
        proxy.stop()
    for line in output.read_text().splitlines():
        if line.startswith("summary:"):
            return int(line.split()[1])
    raise SystemExit(f"cachegrind wrote no summary for {proxy.name}; see {WORK / (proxy.name + '.log')}")
