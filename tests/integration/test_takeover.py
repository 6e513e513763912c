"""One process takes another's place, under load: nobody is refused, nothing is cut, cancels find their query (P12, P7)."""

import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import socket
import stat
import struct
import subprocess
import tempfile
import threading
import urllib.request

from proxy import Proxy, free_port, wait_until
from wire import TERMINATE, Client, Closed, cancel_request, fields, query

ATOMIC = 'route "marked" { match = "/*"  mode = atomic }\n'
SLEEP = "SELECT pg_sleep(600)"


@contextlib.contextmanager
def successor(old, server, blocks="", **options):
    """Another process that has taken the place of `old` when this returns."""
    new = Proxy(server, blocks, listen=old.listen, **options)
    new.port, new.http_port = old.port, old.http_port
    try:
        new.start("--takeover")
        new.wait_for_log(msg="started")
        yield new
    finally:
        new.__exit__(None)


def has_ended(proxy):
    wait_until(lambda: not proxy.is_alive(), "the process before to end")
    return proxy.process.returncode == 0


def is_running(server, text, count=1):
    rows = server.sql(f"SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = '{text}'")
    return int(rows[0][0]) == count


def error_of(messages):
    return next(fields(body)["C"] for kind, body in messages if kind == b"E")


# --- under load ------------------------------------------------------------------------------------


def P12_pgbench_with_a_connection_per_transaction_notices_nothing(server):
    server.sql("CREATE TABLE moved (n int)")
    rows = lambda: int(server.sql("SELECT count(*) FROM moved")[0][0])  # noqa: E731
    with Proxy(server, workers=2) as first:
        script = os.path.join(first.directory, "script.sql")
        with open(script, "w") as file:
            file.write("BEGIN;\nINSERT INTO moved VALUES (1);\nSELECT count(*) FROM pg_class;\nEND;\n")
        bench = subprocess.Popen([os.path.join(server.bindir, "pgbench"), "-n", "-C", "-c", "50", "-j", "2", "-T", "600", "-f", script,
                                  "-h", "127.0.0.1", "-p", str(first.port), "-U", "postgres", "postgres"],
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        try:
            wait_until(lambda: rows() > 50, "pgbench to be at work")
            with successor(first, server, workers=2) as second:
                assert has_ended(first)
                before = rows()
                wait_until(lambda: rows() > before + 50, "pgbench to go on")
                with successor(second, server) as third:
                    assert has_ended(second)
                    before = rows()
                    wait_until(lambda: rows() > before + 50, "pgbench to go on")
                    bench.terminate()
                    said = bench.communicate(timeout=60)[0]
                    assert third.is_alive()
        finally:
            bench.kill()
            bench.wait()
    assert "error" not in said and "aborted" not in said, said
    server.sql("DROP TABLE moved")


class Worker(threading.Thread):
    """Transactions over one connection. Where that was closed between two of them, the next begins on another."""

    def __init__(self, port, number):
        super().__init__(daemon=True)
        self.port, self.number = port, number
        self.done, self.moved, self.stop, self.error = 0, 0, False, None
        self.client = None

    def begin(self):
        while True:
            try:
                if self.client is None:
                    self.client = Client(self.port).log_in()
                replies = self.client.ask("BEGIN")
                assert replies[0][0] == b"C", replies
                return
            except (Closed, OSError):
                assert self.client is not None and self.moved < 10
                self.client.close()
                self.client = None
                self.moved += 1

    def transaction(self):
        self.begin()
        for text in (f"UPDATE accounts SET balance = balance + 1 WHERE id = {self.number}", "SELECT 1", "COMMIT"):
            replies = self.client.ask(text)
            assert b"E" not in [kind for kind, _ in replies], replies
        self.done += 1

    def run(self):
        try:
            while not self.stop:
                self.transaction()
        except BaseException as error:  # pylint: disable=broad-except
            self.error = repr(error)
        finally:
            if self.client is not None:
                self.client.close()


def P12_fifty_clients_at_work_lose_no_transaction(server):
    server.sql("CREATE TABLE accounts AS SELECT id, 0 AS balance FROM generate_series(0, 49) id")
    with Proxy(server, workers=2) as old:
        workers = [Worker(old.port, number) for number in range(50)]
        for worker in workers:
            worker.start()
        try:
            wait_until(lambda: all(worker.done > 2 for worker in workers), "all to be at work")
            with successor(old, server, workers=2):
                assert has_ended(old)
                before = [worker.done for worker in workers]
                wait_until(lambda: all(w.error or w.done > b + 2 for w, b in zip(workers, before)), "all to go on")
                for worker in workers:
                    worker.stop = True
                for worker in workers:
                    worker.join()
        finally:
            for worker in workers:
                worker.stop = True
    assert not [worker.error for worker in workers if worker.error], [worker.error for worker in workers if worker.error]
    assert all(worker.moved == 1 for worker in workers), [worker.moved for worker in workers]
    balances = server.sql("SELECT balance FROM accounts ORDER BY id; DROP TABLE accounts")
    assert [int(row[0]) for row in balances] == [worker.done for worker in workers]


# --- requests ----------------------------------------------------------------------------------------


def P12_a_request_that_waits_for_its_client_is_kept_until_its_outcome(server):
    server.sql("CREATE TABLE kept (n int)")
    with Proxy(server, ATOMIC) as old, old.log_in() as client, old.log_in() as idle:
        idle.ask("SELECT 1")
        client.ask("SET pgatomic.request = '/long'")
        client.ask("INSERT INTO kept VALUES (1)")
        with successor(old, server, ATOMIC) as new, new.log_in() as newcomer:
            assert idle.fatal()["C"] == "57P01"
            assert newcomer.value("SELECT 1") == "1"
            client.ask("INSERT INTO kept VALUES (2)")
            assert old.is_alive()
            assert client.ask("SET pgatomic.outcome = 'commit'")[0] == (b"C", b"SET\0")
            assert client.fatal()["C"] == "57P01"
            assert has_ended(old)
            assert newcomer.value("SELECT count(*) FROM kept") == "2"
    server.sql("DROP TABLE kept")


def P12_what_is_open_after_the_drain_timeout_of_a_replaced_process_is_rolled_back(server):
    server.sql("CREATE TABLE kept (n int)")
    with Proxy(server, ATOMIC + "drain_timeout = 300ms\n") as old, old.log_in() as client:
        client.ask("SET pgatomic.request = '/long'")
        client.ask("INSERT INTO kept VALUES (1)")
        with successor(old, server) as new:
            assert client.fatal()["C"] == "57P01"
            assert has_ended(old) and old.log_where(msg="request_rolled_back")
            with new.log_in() as newcomer:
                assert newcomer.value("SELECT count(*) FROM kept") == "0"
    server.sql("DROP TABLE kept")


def P12_who_has_just_connected_is_served_before_the_process_goes(server):
    """Its connection is with the old process already: it gets its login there, and its first request."""
    with Proxy(server, workers=2) as old:
        starting, silent, quiet = old.connect(), old.connect(), old.log_in()
        with successor(old, server):
            starting.log_in()
            assert starting.value("SELECT 1") == "1"
            assert starting.fatal()["C"] == "57P01"
            assert quiet.fatal()["C"] == "57P01"
            silent.close()
            assert has_ended(old)


# --- cancel --------------------------------------------------------------------------------------------


def P7_a_cancel_request_finds_its_query_in_the_processes_before(server):
    with Proxy(server, workers=2) as first, first.log_in() as a:
        a.send(query(SLEEP + " -- a"))
        wait_until(lambda: is_running(server, SLEEP + " -- a"), "the query to run")
        with successor(first, server, workers=2) as second, second.log_in() as b:
            b.send(query(SLEEP + " -- b"))
            wait_until(lambda: is_running(server, SLEEP + " -- b"), "the query to run")
            with successor(second, server, workers=2) as third, third.log_in() as c:
                c.send(query(SLEEP + " -- c"))
                wait_until(lambda: is_running(server, SLEEP + " -- c"), "the query to run")
                for client, others in ((a, (b, c)), (b, (c,)), (c, ())):
                    with third.connect() as canceller:
                        canceller.send(cancel_request(client.process_id, client.secret))
                        assert canceller.is_closed()
                    assert error_of(client.read_until(b"Z")) == "57014"
                    assert all(is_running(server, f"{SLEEP} -- {'bc'[other is c]}") for other in others)
                assert has_ended(first) and has_ended(second)
                with third.connect() as canceller:
                    canceller.send(cancel_request(a.process_id, a.secret))
                    assert canceller.is_closed()


def P7_a_wrong_key_is_passed_on_and_cancels_nothing(server):
    with Proxy(server) as old, old.log_in() as client:
        client.send(query(SLEEP))
        wait_until(lambda: is_running(server, SLEEP), "the query to run")
        with successor(old, server) as new:
            with new.connect() as canceller:
                canceller.send(cancel_request(client.process_id, b"none"))
                assert canceller.is_closed()
            old.wait_for_log(msg="cancel request with an unknown key")
            assert is_running(server, SLEEP)
            with new.connect() as canceller:
                canceller.send(cancel_request(client.process_id, client.secret))
                assert canceller.is_closed()
            assert error_of(client.read_until(b"Z")) == "57014"


# --- who may, and when -----------------------------------------------------------------------------------


def P12_a_second_process_says_who_listens_and_what_can_be_done(server):
    with Proxy(server) as proxy:
        status, said = proxy.run("run", "-c", proxy.config)
        said += "".join(line["error"] for line in proxy.log_where(msg="cannot listen"))
        assert status == 1, said
        assert "in use" in said and f"process {proxy.process.pid}" in said and "--takeover" in said, said
        with proxy.log_in() as client:
            assert client.value("SELECT 1") == "1"


def P12_where_nobody_listens_a_takeover_is_an_ordinary_start(server):
    proxy = Proxy(server)
    try:
        proxy.start("--takeover")
        with proxy.log_in() as client:
            assert client.value("SELECT 1") == "1"
    finally:
        proxy.__exit__(None)


def P12_a_takeover_that_fails_changes_nothing(server):
    with Proxy(server) as old, old.log_in() as client, socket.socket() as taken:
        path = os.path.join(old.directory, ".s.PGSQL.6543")
        old.listen.append(f"unix:{old.directory}:6543")
        old.reload("")
        old.wait_for_log(msg="config reloaded")
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        new = Proxy(server, listen=[*old.listen, f"127.0.0.1:{taken.getsockname()[1]}"])
        try:
            new.write_config("")
            status, said = new.run("run", "-c", new.config, "--takeover")
            assert status == 1 and new.log_where(msg="cannot listen"), said
            status, said = new.run("run", "--upstream", f"host=127.0.0.1 port={free_port()}", "--listen", f"127.0.0.1:{old.port}",
                                   "--takeover", "--require-upstream")
            assert status == 1 and "refused" in said, said
        finally:
            new.remove()
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        assert client.value("SELECT 1") == "1"
        with old.log_in() as newcomer:
            assert newcomer.value("SELECT 1") == "1"
        assert not old.log_where(msg="draining")


def P12_a_unix_socket_goes_over_with_its_file(server):
    with Proxy(server) as old:
        path = os.path.join(old.directory, ".s.PGSQL.6543")
        old.listen.append(f"unix:{old.directory}:6543")
        old.reload("")
        old.wait_for_log(msg="config reloaded")
        file = os.stat(path).st_ino
        with successor(old, server) as new:
            assert has_ended(old)
            assert os.stat(path).st_ino == file
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(path)
            new.stop()
            assert not os.path.exists(path)


def P12_http_goes_over_too(server):
    def socket_of_http():
        with urllib.request.urlopen(f"http://127.0.0.1:{old.http_port}/healthz", timeout=30) as answer:
            assert answer.status == 200
        with open("/proc/net/tcp") as file:
            inodes = [line.split()[9] for line in file if line.split()[1].endswith(f":{old.http_port:04X}") and line.split()[3] == "0A"]
        assert len(inodes) == 1
        return inodes[0]

    with Proxy(server, ATOMIC, http=True) as old, old.log_in() as client:
        listening = socket_of_http()
        client.ask("SET pgatomic.request = '/long'")
        client.ask("SELECT 1")
        with successor(old, server):
            assert old.is_alive() and socket_of_http() == listening
            client.ask("SET pgatomic.outcome = 'commit'")
            assert has_ended(old) and socket_of_http() == listening


def P12_a_socket_file_that_somebody_else_has_put_there_is_not_removed(server):
    with Proxy(server) as proxy, tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, ".s.PGSQL.6543")
        proxy.listen.append(f"unix:{directory}:6543")
        proxy.reload("")
        proxy.wait_for_log(msg="config reloaded")
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(path + ".new")
            os.rename(path + ".new", path)
            proxy.stop()
            assert os.path.exists(path)


def P12_addresses_that_the_new_config_does_not_name_are_closed(server):
    other = free_port()
    with Proxy(server) as old:
        old.listen.append(f"127.0.0.1:{other}")
        old.reload("")
        old.wait_for_log(msg="config reloaded")
        new = Proxy(server, listen=old.listen[:1])
        new.port = old.port
        try:
            new.start("--takeover")
            new.wait_for_log(msg="started")
            assert has_ended(old)
            with socket.socket() as s:
                assert s.connect_ex(("127.0.0.1", other)) != 0
        finally:
            new.__exit__(None)


def another_user():
    """A command's prefix that makes it run as somebody else."""
    if os.getuid() != 0:
        return ["unshare", "--user"]
    nobody = pwd.getpwnam("nobody")
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]


def P12_another_users_process_takes_nothing_over(server):
    with Proxy(server) as proxy, tempfile.TemporaryDirectory() as directory:
        binary = shutil.copy(proxy.binary, os.path.join(directory, "pgatomic"))
        os.chmod(directory, 0o755)
        done = subprocess.run([*another_user(), binary, "run", "--upstream", "host=127.0.0.1", "--listen", f"127.0.0.1:{proxy.port}",
                               "--takeover"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False)
        assert done.returncode == 1 and b"in use" in done.stdout, done
        with proxy.log_in() as client:
            assert client.value("SELECT 1") == "1"


def bell_of(proxy):
    """The abstract socket at which it can be called."""
    return f"\0pgatomic/{os.getuid()}/{hashlib.sha256(f'127.0.0.1:{proxy.port}'.encode()).hexdigest()[:32]}"


def P12_who_rings_and_talks_nonsense_is_hung_up_on(server):
    with Proxy(server) as old:
        old.wait_for_log(msg="started")
        idle = []
        for said in (b"", b"R", b"T" * 200, os.urandom(152), b"\0" * 5000):
            caller = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            caller.settimeout(30)
            caller.connect(bell_of(old))
            if said:
                caller.send(said)
                assert caller.recv(1) == b""
                caller.close()
            else:
                idle.append(caller)
        old.check_alive()
        with successor(old, server) as new, new.log_in() as client:
            assert client.value("SELECT 1") == "1"
            assert has_ended(old)
        for caller in idle:
            caller.close()


# --- a takeover that is disturbed ------------------------------------------------------------------

PACKET = struct.Struct("=II4xii116x")  # as struct handover_packet: what it is, the version, whose file, two descriptors, an address


def packet(kind):
    return PACKET.pack(ord(kind), 1, -1, -1)


def ask_for_the_place(proxy):
    """As a process that has come to take it: it has everything, and is not ready yet."""
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    caller.settimeout(30)
    caller.connect(bell_of(proxy))
    caller.send(packet("T"))
    while caller.recv(PACKET.size)[:1] != b"E":
        pass
    return caller


@contextlib.contextmanager
def getting_ready(old, server):
    """Another process that has the sockets of `old`, and does not ask for its place before its upstream's first host has answered; and
    what makes that host answer: nobody is there."""
    with contextlib.ExitStack() as host:
        deaf = host.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", free_port()))
        deaf.listen(0)
        for _ in range(3):  # a full queue drops whoever comes next
            caller = host.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        hosts = f"host=127.0.0.1,{server.directory} port={deaf.getsockname()[1]},{server.port}"
        new = Proxy(server, f'database "*" {{ upstream = "{hosts}"  connect_timeout = 60s }}\n', listen=old.listen, database=False)
        new.port = old.port
        try:
            new.write_config(new.blocks)
            new.launch("--takeover", "--require-upstream")
            new.wait_for_log(len(old.listen), msg="listening")
            yield new, host.close
        finally:
            host.close()
            new.__exit__(None)


def listen_at_file(proxy):
    proxy.listen.append(f"unix:{proxy.directory}:6543")
    proxy.reload("")
    proxy.wait_for_log(msg="config reloaded")
    return os.path.join(proxy.directory, ".s.PGSQL.6543")


def takes_connections(path):
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(path) == 0


def P12_who_ends_while_its_place_is_asked_for_leaves_it(server):
    with Proxy(server) as old:
        path = listen_at_file(old)
        with getting_ready(old, server) as (new, host_answers):
            old.process.send_signal(signal.SIGTERM)
            assert has_ended(old) and not new.log_where(msg="started"), "it had nobody to wait for"
            assert takes_connections(path), "there is no moment at which nobody listens"
            host_answers()
            new.wait_for_log(msg="started")
            assert takes_connections(path)
            with new.log_in() as client:
                assert client.value("SELECT 1") == "1"
            new.stop()
            assert not os.path.exists(path)


def P12_who_drains_while_its_place_is_asked_for_leaves_it(server):
    with Proxy(server) as old, old.log_in() as client:
        path = listen_at_file(old)
        client.ask("BEGIN")
        with getting_ready(old, server) as (new, host_answers):
            old.process.send_signal(signal.SIGTERM)
            old.wait_for_log(msg="draining")
            host_answers()
            new.wait_for_log(msg="started")
            assert takes_connections(path)
            with new.log_in() as newcomer:
                assert newcomer.value("SELECT 1") == "1"
            assert client.value("SELECT 1") == "1"
            client.ask("COMMIT")
            assert has_ended(old)
            assert len(old.log_where(msg="draining")) == 1


def P12_the_end_of_who_was_asked_is_told_to_the_first_that_asked(server):
    with Proxy(server) as old, ask_for_the_place(old) as first, ask_for_the_place(old) as second:
        old.process.send_signal(signal.SIGTERM)
        assert first.recv(PACKET.size)[:1] == b"G" and first.recv(PACKET.size) == b""
        assert second.recv(PACKET.size) == b""
        assert has_ended(old)


def P12_only_one_of_two_takes_the_place(server):
    with Proxy(server) as old, ask_for_the_place(old) as first, ask_for_the_place(old) as second:
        second.send(packet("R"))
        assert second.recv(PACKET.size)[:1] == b"G"
        assert first.recv(PACKET.size) == b""
        assert has_ended(old)


def P12_who_asks_and_has_hung_up_replaces_nobody(server):
    with Proxy(server) as old, ask_for_the_place(old) as caller:
        old.process.send_signal(signal.SIGSTOP)
        caller.send(packet("R"))
        caller.close()
        old.process.send_signal(signal.SIGCONT)
        with old.log_in() as client:
            assert client.value("SELECT 1") == "1"
        assert not old.log_where(msg="draining")


def P12_who_is_told_to_end_before_it_is_ready_takes_nobodys_place(server):
    with Proxy(server) as old, getting_ready(old, server) as (new, host_answers):
        new.process.send_signal(signal.SIGTERM)
        host_answers()
        assert has_ended(new)
        with old.log_in() as client:
            assert client.value("SELECT 1") == "1"
        assert not old.log_where(msg="draining")


def P12_a_reload_that_is_asked_for_before_it_is_ready_comes_after(server):
    with Proxy(server) as old, getting_ready(old, server) as (new, host_answers):
        new.process.send_signal(signal.SIGHUP)
        host_answers()
        new.wait_for_log(msg="config reloaded")
        assert has_ended(old)
        with new.log_in() as client:
            assert client.value("SELECT 1") == "1"


def P12_the_process_that_comes_reads_its_config_anew(server):
    with Proxy(server) as old:
        with successor(old, server, 'route "all" { mode = atomic  end = commit }\n') as new:
            assert has_ended(old)
            with new.log_in() as client:
                client.ask("SELECT 1")
                client.send(TERMINATE)
                assert client.is_closed()
            new.wait_for_log(msg="request_committed")
