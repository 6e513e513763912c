#!/usr/bin/env python3
"""Does what the README says at a terminal, and compares what it shows with what is printed now.

Every ```console block is a piece of a terminal session. `$ psql …` opens a psql that stays open, `postgres=# …` types into it (a block may
begin with that and go on where the last one ended), any other `$ …` is a shell command. What follows a command is its output, to the
letter, but for what differs each time: times, ids, process and port numbers, durations. Commands reach the pgatomic of this test in
place of the one that `make run` starts, and its folder in place of build/run. Every ```conf block must be a config without a mistake, where
there are a certificate and a folder for the log.

    tests/readme/check.py [--write]     --write puts the output of today into the README instead of comparing
"""

import difflib
import itertools
import os
import pathlib
import pty
import re
import select
import shlex
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lib"))
from certificates import Certificates
from waiting import wait_until
README = ROOT / "README.md"
RUN = "build/test/run"
PROMPT = re.compile(r"(?:^|\n)(\w+[=\-'($][*!?]?[#>] )$")
TYPED = re.compile(r"^\w+[=\-'($][*!?]?[#>] ")
CONFIG = re.compile(r"^```conf\n(.*?)^```$", re.M | re.S)
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)

MASKS = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "TIME"),
    (r"\d\d:\d\d:\d\d(\.\d+)?", "TIME"),
    (r"PID \d+", "PID"),
    (r"127\.0\.0\.1:\d+", "CLIENT"),
    (r"\d+(\.\d+)? ?(µs|ms)", "DURATION"),
    (r'"(held_ms|duration_ms)":[\d.]+', "DURATION"),
    (r'"xid":"?\d+"?', "XID"),
)


def masked(text):
    for pattern, name in MASKS:
        text = re.sub(pattern, name, text)
    return [re.sub(r"\s+", " ", line).rstrip() for line in text.splitlines()]


class Psql:
    """psql on a terminal of its own, so that it shows what a person sees."""

    def __init__(self, command):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ.update(PAGER="", PSQL_PAGER="", PSQLRC="/dev/null", PSQL_HISTORY="/dev/null", TERM="dumb", LC_ALL="C.UTF-8")
            os.execvp(command[0], [*command, "-n"])
        self.read_to_prompt()  # the banner

    def type(self, line):
        """The line as the terminal echoes it behind the prompt, and all that comes before the next prompt."""
        prompt = self.prompt
        os.write(self.terminal, (line + "\n").encode())
        return prompt + self.read_to_prompt().lstrip("\n")

    def read_to_prompt(self, seconds=20):
        text, deadline = "", time.monotonic() + seconds
        while True:
            if select.select([self.terminal], [], [], max(0, deadline - time.monotonic()))[0]:
                text += os.read(self.terminal, 65536).decode().replace("\r\n", "\n")
            else:
                raise SystemExit(f"psql shows no prompt: {text!r}")
            found = PROMPT.search(text)
            if found:
                self.prompt = found[1]
                return text[:found.start(1)]


class Terminal:
    def __init__(self, port):
        self.port = port
        self.psql = None

    def play(self, block):
        """The block as it comes out today."""
        shown, lines = [], block.splitlines()
        for number, line in enumerate(lines):
            if line.startswith("$ psql"):
                self.psql = Psql(shlex.split(self.local(line[2:])))
                shown.append(line)
            elif line.startswith("$ "):
                expected = itertools.takewhile(lambda text: not text.startswith("$ ") and not TYPED.match(text), lines[number + 1:])
                shown += [line, *self.shell(line[2:], list(expected))]
            elif TYPED.match(line):
                shown += self.psql.type(TYPED.sub("", line)).splitlines()
        return "\n".join(shown) + "\n"

    def count_reloads(self):
        return (ROOT / RUN / "pgatomic.log").read_text().count('"msg":"config reloaded"')

    def local(self, command):
        return command.replace("6432", str(self.port)).replace("build/run", RUN)

    def shell(self, command, expected):
        """The command's output. The log is written a moment after the client had its reply, so what reads it may do so for a while."""
        deadline = time.monotonic() + 60
        output = self.run(command)
        while masked("\n".join(output)) != masked("\n".join(expected)) and time.monotonic() < deadline:
            time.sleep(0.05)
            output = self.run(command)
        return output

    def run(self, command):
        reloads = self.count_reloads()
        done = subprocess.run(["bash", "-c", self.local(command)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if "kill -HUP" in command:
            wait_until(lambda: self.count_reloads() > reloads, "pgatomic to read its config again")
        return done.stdout.replace(RUN, "build/run").replace(str(self.port), "6432").splitlines()


def start():
    """What `make run` starts, in a folder of this test. Returns the process and the port."""
    subprocess.run(["rm", "-rf", RUN], cwd=ROOT, check=True)
    process = subprocess.Popen(["tools/run"], cwd=ROOT, env={**os.environ, "RUN": RUN}, stdout=subprocess.PIPE, text=True,
                               start_new_session=True)
    for line in process.stdout:
        found = re.search(r"psql 'host=127\.0\.0\.1 port=(\d+)", line)
        if found:
            return process, int(found[1])
    raise SystemExit("tools/run did not start")


def stop(process):
    os.killpg(process.pid, 2)  # as Ctrl-C does
    process.communicate(timeout=60)


def main():
    text = README.read_text()
    process, port = start()
    try:
        wait_until(lambda: listens(port), "pgatomic to listen")
        terminal = Terminal(port)
        played = [(block, terminal.play(block[1])) for block in BLOCK.finditer(text)]
    finally:
        stop(process)
    if "--write" in sys.argv:
        for block, today in reversed(played):
            text = text[:block.start(1)] + today + text[block.end(1):]
        README.write_text(text)
        return 0
    failed = 0
    for block, today in played:
        difference = list(difflib.unified_diff(masked(block[1]), masked(today), "README.md", "today", lineterm="", n=2))
        failed += bool(difference)
        print(*difference, sep="\n", end="\n" if difference else "")
    here = ROOT / RUN / "installed"
    here.mkdir(exist_ok=True)
    Certificates(here)
    configs = [re.sub("/(etc|var/log)/pgatomic/", f"{here}/", config) for config in CONFIG.findall(text)]
    failed += sum(not is_good_config(config) for config in configs)
    print(f"{len(played) + len(configs) - failed} passed, {failed} failed")
    return failed > 0


def is_good_config(text):
    path = ROOT / RUN / "readme.conf"
    path.write_text(text)
    path.with_name("users.conf").write_text('user "app" { password = "secret" }\n')
    done = subprocess.run([ROOT / "build/pgatomic", "check", "-c", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        print(done.stdout)
    return done.returncode == 0


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    sys.exit(main())
