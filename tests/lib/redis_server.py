"""A private Redis for a test: its own port of 127.0.0.1 (and ::1), socket and directory, gone when the test is.

    with Redis("--requirepass", "secret") as redis:
        … push to redis.url(password="secret") …
        redis.do("LRANGE", "jobs", 0, -1)

It is the distribution's (package redis-server), run in the foreground by whoever runs the test.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import urllib.parse

from ports import free_port
from waiting import wait_until


class RedisError(Exception):
    """What the server answered."""


class Connection:
    """As much of a client as tests need: it comes in over the unix socket."""

    def __init__(self, path, timeout=60):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.stream = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()

    def send(self, *words):
        encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))

    def receive(self):
        line = self.stream.readline()
        if not line:
            raise ConnectionError("Redis has closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.stream.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return [self.receive() for _ in range(int(rest))]
        return rest.decode()

    def do(self, *words):
        self.send(*words)
        return self.receive()


class Redis:
    def __init__(self, *arguments, tls=None, password=None):
        """`tls`: a Certificates. `password`: what this class itself needs to get in."""
        self.arguments, self.tls, self.password = arguments, tls, password
        self.directory = tempfile.mkdtemp(prefix="pgatomic-redis-")
        self.path = os.path.join(self.directory, "socket")
        self.log = os.path.join(self.directory, "log")
        self.port, self.tls_port = free_port(), free_port()
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.remove()

    def start(self):
        """Returns when it takes commands. It is empty: nothing outlives a stop, unless the arguments say so."""
        command = ["redis-server", "--port", self.port, "--bind", "127.0.0.1", "-::1", "--unixsocket", self.path, "--dir", self.directory,
                   "--save", "", "--daemonize", "no"]
        if self.tls:
            command += ["--tls-port", self.tls_port, "--tls-cert-file", self.tls.certificate, "--tls-key-file", self.tls.key,
                        "--tls-ca-cert-file", self.tls.ca, "--tls-auth-clients", "no"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([str(word) for word in [*command, *self.arguments]], stdout=log, stderr=log)
        wait_until(self._is_ready, "Redis to take commands; its log: " + self.log)

    def _is_ready(self):
        if self.process.poll() is not None:
            with open(self.log, errors="replace") as log:
                raise AssertionError("Redis did not start:\n" + log.read())
        try:
            return self.do("PING") == "PONG"
        except (OSError, RedisError):
            return False

    def kill(self):
        """Without a word to anybody."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def remove(self):
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def connect(self, database=0):
        connection = Connection(self.path)
        if self.password:
            connection.do("AUTH", self.password)
        if database:
            connection.do("SELECT", database)
        return connection

    def do(self, *words, database=0):
        with self.connect(database) as connection:
            return connection.do(*words)

    def list(self, key, database=0):
        return self.do("LRANGE", key, 0, -1, database=database)

    def url(self, database=0, user="", password="", host="127.0.0.1", tls=False):
        login = f"{user}:{urllib.parse.quote(password, safe='')}@" if password else ""
        scheme, port = ("rediss", self.tls_port) if tls else ("redis", self.port)
        return f"{scheme}://{login}{host}:{port}/{database}"
