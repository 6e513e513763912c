"""The proxies that are measured: how each is configured and started, plainly or under valgrind.

A proxy writes its config into build/bench when it starts, takes a free port of the loopback, and ends when the benchmark does.
"""

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess

import harness
from ports import free_port

PGATOMIC = os.environ.get("PGATOMIC", str(harness.ROOT / "build/pgatomic"))
SBIN = os.environ.get("PATH", "") + ":/usr/sbin"


class Proxy:
    name = ""
    workers = 1
    prepares = True  # named statements work

    def __init__(self, postgres):
        self.postgres = postgres
        self.port = None
        self.process = None

    def start(self, under=()):
        self.port = free_port()
        log = open(harness.WORK / f"{self.name}.log", "ab")
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
        path = harness.WORK / f"{self.name}.{suffix}"
        path.write_text(text)
        return str(path)

    def command(self):
        raise NotImplementedError

    def user(self):
        """As whom it runs; None: as ourselves."""
        return None

    def privileges(self):
        return {"user": self.user(), "group": pwd.getpwnam(self.user()).pw_gid, "extra_groups": []} if self.user() else {}


def wait_for_port(port, process):
    def listens():
        if process.poll() is not None:
            raise SystemExit(f"{process.args[0]} ended with status {process.returncode} before it listened; see {harness.WORK}")
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    harness.wait_until(listens, f"{process.args[0]} to listen on port {port}", seconds=60)


class PgBouncer(Proxy):
    """Debian's pgbouncer, as its own defaults have it but for logging. `options` are further lines of its [pgbouncer] section."""

    name = "pgbouncer"

    def __init__(self, postgres, mode="session", size=200, options="auth_type = any"):
        super().__init__(postgres)
        self.mode = mode
        self.size = size
        self.options = options
        self.prepares = mode == "session"  # Debian's is older than its prepared statements in transaction mode

    def command(self):
        # It refuses a [databases] line without a server and a client without an auth file, even with auth_type = any.
        config = self.write("ini", f"""[databases]
* = host=127.0.0.1 port={self.postgres.port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
pool_mode = {self.mode}
default_pool_size = {self.size}
max_client_conn = 10000
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
stats_period = 3600
{self.options}
""")
        return [shutil.which(self.name, path=SBIN), "-q", config]

    def user(self):
        return "postgres" if os.geteuid() == 0 else None


class PgAtomic(Proxy):
    """build/pgatomic, or PGATOMIC of the environment, with one route for everything. `database` are further options of its database,
    `options` further lines of its file."""

    def __init__(self, postgres, name="pgatomic", route="mode = autocommit", *, upstream_port=None, workers=1, database="", options=""):
        super().__init__(postgres)
        self.name = name
        self.workers = workers
        self.route = route
        self.upstream_port = upstream_port or postgres.port
        self.database = database
        self.options = options

    def command(self):
        config = self.write("conf", f"""listen = {{"127.0.0.1:{self.port}"}}
workers = {self.workers}
log {{ level = warn }}
{self.options}
database "*" {{ upstream = "host=127.0.0.1 port={self.upstream_port}" {self.database} }}
route "all" {{ {self.route} }}
""")
        return [PGATOMIC, "run", "-c", config]


class HaProxy(Proxy):
    """Debian's haproxy in TCP mode, with one thread as the others."""

    name = "haproxy"

    def command(self):
        config = self.write("cfg", f"""global
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen postgres
    bind 127.0.0.1:{self.port}
    server one 127.0.0.1:{self.postgres.port}
""")
        return [shutil.which(self.name, path=SBIN), "-q", "-db", "-f", config]
