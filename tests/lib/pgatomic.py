"""pgatomic under test: started with a config, watched through its log, stopped with a signal.

    with Pgatomic(server, 'route "all" { mode = atomic  end = commit }') as proxy:
        … connect to 127.0.0.1:proxy.port …
        proxy.wait_for_log(msg="request_committed")

The config is the caller's blocks behind what every test needs: where to listen, the upstream, a log with full payloads.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile

from ports import free_port
from postgres import ROOT
from waiting import wait_until

BINARY = os.environ.get("PGATOMIC", os.path.join(ROOT, "build", "pgatomic"))

CONFIG = """\
listen = {{"127.0.0.1:{port}"}}
http = ""
log {{ format = json  level = info  file = "{log}"  payloads = full }}
auth {{ method = passthrough }}
database "*" {{ upstream = "host=127.0.0.1 port={upstream}" }}
"""


class Pgatomic:
    def __init__(self, server, blocks, binary=BINARY):
        self.server = server
        self.blocks = blocks
        self.binary = binary
        self.directory = tempfile.mkdtemp(prefix="pgatomic-")
        self.config = os.path.join(self.directory, "pgatomic.conf")
        self.log = os.path.join(self.directory, "log.json")
        self.port = free_port()
        self.environment = {}
        self.sockets = []  # that are open for it when it starts, as descriptors 3, 4 and so on
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.remove()

    def write_config(self, blocks):
        self.blocks = blocks
        with open(self.config, "w") as file:
            file.write(CONFIG.format(port=self.port, log=self.log, upstream=self.server.port) + blocks)

    def launch(self, *options):
        """Returns at once. Sockets need LISTEN_PID, which only the process itself can know."""
        fds = [fcntl.fcntl(sock, fcntl.F_DUPFD_CLOEXEC, 100) for sock in self.sockets]
        moves = "".join(f" {3 + i}<&{fd} {fd}<&-" for i, fd in enumerate(fds))
        command = ["bash", "-c", f'LISTEN_PID=$$ exec "$@"{moves}', "bash"] if fds else []
        with open(os.path.join(self.directory, "stderr"), "ab") as errors:
            self.process = subprocess.Popen([*command, self.binary, "run", "-c", self.config, *options], stdout=errors, stderr=errors,
                                            pass_fds=fds, env={**os.environ, **self.environment})
        for fd in fds:
            os.close(fd)

    def start(self, *options):
        """Returns when the port takes connections."""
        self.write_config(self.blocks)
        self.launch(*options)
        wait_until(self._is_listening, "pgatomic to listen")

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def _is_listening(self):
        self.check_alive()
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def check_alive(self):
        if self.process.poll() is not None:
            raise AssertionError(f"pgatomic ended by itself, status {self.process.returncode}:\n{self.errors()}")

    def errors(self):
        """What it wrote outside of its log."""
        with open(os.path.join(self.directory, "stderr"), errors="replace") as file:
            return file.read()

    def log_lines(self):
        """The log so far, each line parsed. A line that is not JSON is an error of the test's subject and raised."""
        if not os.path.exists(self.log):
            return []
        with open(self.log, encoding="utf-8") as file:
            text = file.read()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def log_where(self, **fields):
        """The lines whose fields have these values."""
        return [line for line in self.log_lines() if all(line.get(name) == value for name, value in fields.items())]

    def wait_for_log(self, count=1, **fields):
        """Waits until `count` such lines are there, and returns them."""
        what = f"{count} lines with {fields} in the log {self.log}"

        def enough():
            found = self.log_where(**fields)
            return found if len(found) >= count else None

        return wait_until(enough, what)

    def unsettled(self, database):
        """The labels of requests of a database that have begun and are not over."""
        begun = {}
        for line in self.log_where(database=database):
            if line["msg"] == "request_begun":
                begun[line["request"]] = line["label"]
            elif line["msg"] in ("request_committed", "request_rolled_back"):
                begun.pop(line["request"], None)
        return list(begun.values())

    def wait_until_settled(self, database):
        """Waits until every request of a database that has begun is over: what its clients did is then final. Returns what is not over
        when waiting has become pointless."""
        try:
            wait_until(lambda: not self.unsettled(database) or not self.is_alive(), "")
        except AssertionError:
            pass
        return self.unsettled(database)

    def events(self, database):
        """Each event's story, in order of capture: [channel, payload, fate], fate being `released`, `discarded: reason` or `held`."""
        stories = {}
        for line in self.log_where(database=database):
            if line["msg"] == "event_held":
                stories[line["id"]] = [line["channel"], line["payload"], "held"]
            elif line["msg"] == "event_released":
                stories[line["id"]][2] = "released"
            elif line["msg"] == "event_discarded":
                stories[line["id"]][2] = "discarded: " + line["reason"]
        return list(stories.values())

    def requests(self, database):
        """How the requests of each label ended, in order: `committed`, or the reason of the rollback."""
        ends = {}
        for line in self.log_where(database=database):
            if line["msg"] == "request_committed":
                ends.setdefault(line["label"], []).append("committed")
            elif line["msg"] == "request_rolled_back":
                ends.setdefault(line["label"], []).append(line["reason"])
        return ends

    def reload(self, blocks):
        """SIGHUP with a new config."""
        self.write_config(blocks)
        self.process.send_signal(signal.SIGHUP)

    def change_config(self, blocks):
        """The same, and whatever is sent to it from now on meets the new one."""
        before = len(self.log_where(msg="config reloaded"))
        self.reload(blocks)
        self.wait_for_log(count=before + 1, msg="config reloaded")

    def stop(self, how=signal.SIGTERM):
        """Stops it and returns its exit status."""
        if self.process is None:
            return None
        if self.is_alive():
            self.process.send_signal(how)
        try:
            status = self.process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("pgatomic did not stop") from None
        finally:
            self.process = None
        return status

    def remove(self):
        try:
            self.stop(signal.SIGINT)
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)
