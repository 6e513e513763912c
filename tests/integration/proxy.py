"""The proxy under test, in front of a server that trusts everybody who comes over its unix socket."""

import os
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from pgatomic import Pgatomic  # noqa: E402
from ports import free_port  # noqa: E402,F401
from waiting import wait_until  # noqa: E402,F401
from wire import Client  # noqa: E402

CONFIG = """\
listen = {{{listen}}}
workers = {workers}
http = "{http}"
log {{ format = json  level = debug  file = "{log}"  payloads = {payloads} }}
"""


class Proxy(Pgatomic):
    """`upstream` is a conninfo string, a port of this machine, or a Postgres. `blocks` stand behind the rest of the config."""

    def __init__(self, upstream, blocks="", workers=1, listen=None, database=True, http=False):
        super().__init__(None, blocks)
        if isinstance(upstream, int):
            upstream = f"host=127.0.0.1 port={upstream} sslmode=disable"
        elif not isinstance(upstream, str):
            upstream = f"host={upstream.directory} port={upstream.port}"
        self.upstream = upstream
        self.workers = workers
        self.listen = listen or [f"127.0.0.1:{self.port}"]
        self.database = database
        self.payloads = "full"
        self.http_port = free_port() if http else None

    def __exit__(self, kind, *_):
        """A sanitizer speaks by the exit status."""
        status = self.stop(signal.SIGINT) if self.is_alive() else self.process and self.process.returncode
        errors = self.errors()
        self.remove()
        assert kind or status in (0, None), (status, errors)

    def write_config(self, blocks):
        self.blocks = blocks
        listen = ", ".join(f'"{address}"' for address in self.listen)
        http = f"127.0.0.1:{self.http_port}" if self.http_port else ""
        text = CONFIG.format(listen=listen, workers=self.workers, log=self.log, http=http, payloads=self.payloads) + blocks
        if self.database:
            text += f'\ndatabase "*" {{ upstream = "{self.upstream}" }}\n'
        with open(self.config, "w") as file:
            file.write(text)

    def start(self, *options):
        super().start(*options)
        if not options:
            self.wait_for_log(msg="started")  # and has opened what it keeps open
        if self.http_port:
            wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", self.http_port)) == 0, "pgatomic to listen for HTTP")

    def connect(self, **options):
        return Client(self.port, **options)

    def log_in(self, **parameters):
        return self.connect().log_in(**parameters)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def memory_kb(self):
        """Resident, now."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))

    def wait_until_idle(self, descriptors):
        wait_until(lambda: self.descriptors() <= descriptors, f"the proxy to be back at {descriptors} descriptors")

    def run(self, *options):
        """Another one, in the foreground: its exit status and what it said."""
        done = subprocess.run([self.binary, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False,
                              universal_newlines=True)
        return done.returncode, done.stdout
