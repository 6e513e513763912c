"""What both benchmarks share: a private PostgreSQL, the proxies in front of it, and ways to see what a process costs.

Everything lives under build/bench, listens on loopback ports of its own, and is gone when the benchmark ends.
"""

import atexit
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "lib"))
from postgres import free_port
from waiting import wait_until

WORK = ROOT / "build" / "bench"
PGATOMIC = os.environ.get("PGATOMIC", str(ROOT / "build/pgatomic"))
PGBOUNCER = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def wait_for_port(port, process):
    def listens():
        if process.poll() is not None:
            raise SystemExit(f"{process.args[0]} ended with status {process.returncode} before it listened; see {WORK}")
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listens, f"{process.args[0]} to listen on port {port}", seconds=60)


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

    def sql(self, text):
        """The rows of `text`, unaligned, one a line."""
        done = subprocess.run([newest_client_program("psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p",
                               str(self.port), "-U", "postgres", "-d", "postgres", "-c", text], check=True, text=True,
                              stdout=subprocess.PIPE, env={**os.environ, "PGOPTIONS": "-c client_min_messages=warning"})
        return done.stdout.split("\n")[:-1]


class Proxy:
    """A proxy in front of `postgres`: how it is configured and started, plainly or under valgrind."""

    name = ""

    def __init__(self, postgres):
        self.postgres = postgres
        self.port = None
        self.process = None

    def start(self, under=()):
        self.port = free_port()
        log = open(WORK / f"{self.name}.log", "ab")
        self.process = subprocess.Popen([*under, *self.command()], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                                        **self.privileges())
        atexit.register(self.stop)
        wait_for_port(self.port, self.process)
        return self

    def stop(self):
        """Ends it and waits until it has written what it has to write."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None
        atexit.unregister(self.stop)

    def write(self, suffix, text):
        path = WORK / f"{self.name}.{suffix}"
        path.write_text(text)
        return str(path)

    def command(self):
        raise NotImplementedError

    def privileges(self):
        return {}


class PgBouncer(Proxy):
    """Debian's pgbouncer in session mode, as its own defaults have it but for logging."""

    name = "pgbouncer"

    def command(self):
        # It refuses a [databases] line without a server and a client without an auth file, even with auth_type = any.
        config = self.write("ini", f"""[databases]
* = host=127.0.0.1 port={self.postgres.port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = any
pool_mode = session
default_pool_size = 200
max_client_conn = 1000
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
stats_period = 3600
""")
        return [PGBOUNCER, "-q", config]

    def privileges(self):
        return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}


class PgAtomic(Proxy):
    """build/pgatomic, or PGATOMIC of the environment, with one worker and one route for everything."""

    def __init__(self, postgres, name, route, upstream_port=None):
        super().__init__(postgres)
        self.name = name
        self.route = route
        self.upstream_port = upstream_port or postgres.port

    def command(self):
        config = self.write("conf", f"""listen = {{"127.0.0.1:{self.port}"}}
workers = 1
log {{ level = warn }}
database "*" {{ upstream = "host=127.0.0.1 port={self.upstream_port}" }}
route "all" {{ {self.route} }}
""")
        return [PGATOMIC, "run", "-c", config]


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
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise ValueError(f"no VmHWM of process {pid}")


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
    user = proxy.privileges().get("user")
    output.write_text("")
    if user:
        shutil.chown(output, user)
    proxy.start(["valgrind", "-q", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={output}"])
    try:
        work(proxy)
    finally:
        proxy.stop()
    for line in output.read_text().splitlines():
        if line.startswith("summary:"):
            return int(line.split()[1])
    raise SystemExit(f"cachegrind wrote no summary for {proxy.name}; see {WORK / (proxy.name + '.log')}")
