"""The process: signals, reload, listeners, the command line (P12's drain)."""

import json
import os
import signal
import socket
import subprocess

from certificates import Certificates
from proxy import Proxy, free_port, wait_until
from test_admin import PoolConsole
from test_http import metrics, value
from test_pool import TRUST, database, pooled
from wire import TERMINATE, Client, Closed, Upstream, query, welcome

ATOMIC = 'route "all" { mode = atomic  end = commit }\n'


def refuses(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) != 0


def has_ended(proxy):
    return proxy.process.poll() is not None


def ended(proxy):
    """Its exit status, once it has ended by itself."""
    wait_until(lambda: has_ended(proxy), "pgatomic to end")
    return proxy.process.returncode


def P12_sigterm_closes_idle_clients_and_takes_no_new_ones(server):
    with Proxy(server, workers=3) as proxy:
        clients = [proxy.log_in() for _ in range(9)]
        starting = proxy.connect()
        proxy.process.send_signal(signal.SIGTERM)
        for client in clients:
            error = client.fatal()
            assert error["C"] == "57P01" and error["M"] == "terminating connection due to administrator command"
        assert starting.is_closed()
        assert ended(proxy) == 0 and refuses(proxy.port)


def P12_a_second_sigterm_changes_nothing(server):
    with Proxy(server) as proxy, proxy.log_in() as client:
        client.ask("BEGIN")
        for _ in range(2):
            proxy.process.send_signal(signal.SIGTERM)
            proxy.wait_for_log(msg="draining")
            assert client.value("SELECT 1") == "1"
        client.ask("COMMIT")
        assert ended(proxy) == 0
        assert len(proxy.log_where(msg="draining")) == 1


def P12_sigterm_lets_transactions_finish(server):
    server.sql("CREATE TABLE drained (n int)")
    with Proxy(server, workers=2) as proxy, proxy.log_in() as client, proxy.log_in() as idle:
        client.ask("BEGIN")
        client.ask("INSERT INTO drained VALUES (1)")
        proxy.process.send_signal(signal.SIGTERM)
        assert idle.fatal()["C"] == "57P01"
        client.ask("INSERT INTO drained VALUES (2)")
        client.ask("COMMIT")
        assert client.fatal()["C"] == "57P01"
        assert ended(proxy) == 0
    assert server.sql("SELECT count(*) FROM drained; DROP TABLE drained") == [["2"]]


def P12_sigterm_lets_clients_of_pools_finish_those_who_wait_for_a_server_too(server):
    server.sql("CREATE TABLE drained (n int)")
    proxy = Proxy(server, TRUST + database(server, pool_size=1), workers=2, database=False, http=True)
    with proxy, proxy.log_in() as idle, proxy.log_in() as busy, proxy.log_in() as queued:
        busy.ask("BEGIN")
        busy.ask("INSERT INTO drained VALUES (1)")
        queued.send(query("INSERT INTO drained VALUES (2)"))
        wait_until(lambda: value(metrics(proxy), "pgatomic_clients_waiting") == 1, "one to wait for the server")
        proxy.process.send_signal(signal.SIGTERM)
        assert idle.fatal()["C"] == "57P01"
        busy.ask("INSERT INTO drained VALUES (3)")
        busy.ask("COMMIT")
        assert busy.fatal()["C"] == "57P01"
        assert (b"C", b"INSERT 0 1\0") in queued.read_until(b"Z")
        assert queued.fatal()["C"] == "57P01"
        assert ended(proxy) == 0
    assert server.sql("SELECT count(*) FROM drained; DROP TABLE drained") == [["3"]]


def P12_sigterm_ends_whoever_has_a_server_of_a_session_pool_between_transactions(server):
    with pooled(server, pool="session", pool_size=2) as proxy, proxy.log_in() as busy, proxy.log_in() as idle:
        busy.ask("BEGIN")
        idle.ask("CREATE TEMP TABLE kept (n int)")
        proxy.process.send_signal(signal.SIGTERM)
        assert idle.fatal()["C"] == "57P01"
        assert busy.value("SELECT 1") == "1"
        busy.ask("COMMIT")
        assert busy.fatal()["C"] == "57P01" and ended(proxy) == 0


def P12_what_a_pool_has_open_after_drain_timeout_is_rolled_back(server):
    server.sql("CREATE TABLE drained (n int)")
    with pooled(server, pool_size=1) as proxy:
        proxy.reload("drain_timeout = 300ms\n" + proxy.blocks)
        proxy.wait_for_log(msg="config reloaded")
        with proxy.log_in() as busy, proxy.log_in() as queued:
            busy.ask("BEGIN")
            busy.ask("INSERT INTO drained VALUES (1)")
            queued.send(query("INSERT INTO drained VALUES (2)"))
            proxy.process.send_signal(signal.SIGTERM)
            assert busy.fatal()["C"] == queued.fatal()["C"] == "57P01"
            assert ended(proxy) == 0
    assert server.sql("SELECT count(*) FROM drained; DROP TABLE drained") == [["0"]]


def P12_what_is_open_after_drain_timeout_is_rolled_back(server):
    server.sql("CREATE TABLE drained (n int)")
    with Proxy(server, ATOMIC + "drain_timeout = 300ms\n") as proxy, proxy.log_in() as client:
        client.ask("INSERT INTO drained VALUES (1)")
        proxy.process.send_signal(signal.SIGTERM)
        assert client.fatal()["C"] == "57P01"
        assert ended(proxy) == 0
        assert proxy.log_where(msg="request_rolled_back")
    assert server.sql("SELECT count(*) FROM drained; DROP TABLE drained") == [["0"]]


def shell_nothing_is_said_inside_a_row_when_the_process_ends(server):
    with Proxy(server) as proxy, proxy.log_in() as client:
        client.send(query("SELECT repeat('x', 50 * 1024 * 1024)"))
        assert client.read()[0] == b"T"
        head = client.take(11)  # the row's, and its only column's
        assert head[:1] == b"D"
        proxy.process.send_signal(signal.SIGINT)
        proxy.wait_for_log(msg="stopping")
        try:
            rest = client.take(1 << 30)
        except Closed as closed:
            rest = closed.args[0]
        assert rest.strip(b"x") == b""
        wait_until(lambda: has_ended(proxy), "the process to end")


def shell_sigint_ends_everybody_now(server):
    server.sql("CREATE TABLE interrupted (n int)")
    with Proxy(server, ATOMIC, workers=2) as proxy, proxy.log_in() as client, proxy.log_in() as busy, proxy.log_in() as idle:
        client.ask("INSERT INTO interrupted VALUES (1)")
        busy.send(query("INSERT INTO interrupted SELECT 2 FROM pg_sleep(600)"))
        active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND state = 'active'"
        wait_until(lambda: server.sql(active + " AND pid <> pg_backend_pid()") == [["1"]], "the query to run")
        proxy.process.send_signal(signal.SIGINT)
        for each in (client, idle, busy):
            assert each.fatal()["C"] == "57P01"
        assert ended(proxy) == 0
    wait_until(lambda: server.sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'") == [["1"]],
               "the servers to be gone")
    assert server.sql("SELECT count(*) FROM interrupted; DROP TABLE interrupted") == [["0"]]


def shell_sigquit_ends_everybody_now(server):
    with Proxy(server, workers=2) as proxy, proxy.log_in() as busy, proxy.log_in() as idle:
        busy.ask("BEGIN")
        proxy.process.send_signal(signal.SIGQUIT)
        for each in (busy, idle):
            assert each.fatal()["C"] == "57P01"
        assert ended(proxy) == 0 and proxy.log_where(msg="stopped")


def P12_sigusr1_pauses_and_sigusr2_resumes(server):
    with PoolConsole(server, workers=2) as proxy, proxy.log_in() as busy, proxy.log_in() as other:
        busy.ask("BEGIN")
        proxy.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: proxy.pool()["paused"] == "yes", "the pause to be in force")
        other.send(query("SELECT 2"))
        wait_until(lambda: proxy.pool()["cl_waiting"] == 1, "the other one to wait")
        assert busy.value("SELECT 1") == "1" and not proxy.log_where(msg="paused"), "a transaction goes on"
        busy.ask("COMMIT")
        proxy.wait_for_log(msg="paused")
        assert proxy.ask("SHOW SERVERS") == []
        proxy.process.send_signal(signal.SIGUSR2)
        assert (b"C", b"SELECT 1\0") in other.read_until(b"Z")
        proxy.wait_for_log(msg="resumed")
        proxy.process.send_signal(signal.SIGUSR2)
        proxy.wait_for_log(msg="SIGUSR2 ignored", error="nothing is paused")
        assert busy.value("SELECT 1") == "1"


def P12_a_pause_by_signal_gives_up_after_drain_timeout(server):
    with PoolConsole(server, workers=2) as proxy, proxy.log_in() as busy:
        proxy.reload("drain_timeout = 300ms\n" + proxy.blocks)
        proxy.wait_for_log(msg="config reloaded")
        busy.ask("BEGIN")
        proxy.process.send_signal(signal.SIGUSR1)
        proxy.wait_for_log(msg="pause taken back", error="there are still servers in use after drain_timeout")
        assert proxy.pool()["paused"] == "no" and busy.value("SELECT 1") == "1"


def P12_signals_for_which_there_is_nothing_to_do_are_logged_and_end_nobody(server):
    with Proxy(server) as proxy, proxy.log_in() as client:
        proxy.process.send_signal(signal.SIGUSR1)
        proxy.wait_for_log(msg="SIGUSR1 ignored")
        proxy.process.send_signal(signal.SIGUSR2)
        proxy.wait_for_log(msg="SIGUSR2 ignored")
        client.ask("BEGIN")
        proxy.process.send_signal(signal.SIGTERM)
        proxy.wait_for_log(msg="draining")
        proxy.process.send_signal(signal.SIGUSR1)
        proxy.wait_for_log(msg="SIGUSR1 ignored", error="the process is about to end")
        client.ask("COMMIT")
        assert client.fatal()["C"] == "57P01" and ended(proxy) == 0


def shell_sigint_does_not_wait_for_an_upstream_that_is_stuck(server):
    with Upstream(lambda wire: (welcome(wire), wire.socket.settimeout(None), wire.take(1 << 30))) as upstream:
        with Proxy(upstream.port) as proxy, proxy.log_in() as client:
            client.send(query("SELECT 1"))
            proxy.process.send_signal(signal.SIGINT)
            proxy.wait_for_log(msg="stopping")
            proxy.process.send_signal(signal.SIGINT)
            assert ended(proxy) in (0, 1)
            proxy.process = None


def shell_sigint_settles_the_requests_of_a_stuck_upstream_before_it_gives_up(server):
    with Upstream(lambda wire: (welcome(wire), wire.socket.settimeout(None), wire.take(1 << 30))) as upstream:
        with Proxy(upstream.port, ATOMIC) as proxy, proxy.log_in() as client:
            client.send(query("INSERT INTO t VALUES (1)"))
            proxy.wait_for_log(msg="request_begun")
            proxy.process.send_signal(signal.SIGINT)
            assert ended(proxy) == 0
            assert proxy.log_where(msg="request_rolled_back")


def shell_sighup_brings_new_rules_to_requests_that_begin_after_it(server):
    with Proxy(server) as proxy, proxy.log_in() as client:
        client.ask("SELECT 1")
        assert not proxy.log_where(msg="request_begun")
        proxy.reload(ATOMIC)
        proxy.wait_for_log(msg="config reloaded")
        client.ask("SELECT 1")
        client.send(TERMINATE)
        assert client.is_closed()
        proxy.wait_for_log(msg="request_committed")


def shell_a_config_that_does_not_check_is_refused_whole(server):
    with Proxy(server, ATOMIC) as proxy, proxy.log_in() as client:
        proxy.reload('route "all" { mode = sideways }\nlimits { clients = many }\n')
        lines = proxy.wait_for_log(msg="config refused")
        assert proxy.config in lines[0]["error"] and lines[0]["level"] == "error", lines
        client.ask("SELECT 1")
        client.send(TERMINATE)
        proxy.wait_for_log(msg="request_committed")
        with proxy.log_in() as another:
            assert another.value("SELECT 1") == "1"


def shell_sighup_opens_and_closes_listeners(server):
    other = free_port()
    with Proxy(server) as proxy, proxy.log_in() as client:
        proxy.listen = [f"127.0.0.1:{other}"]
        proxy.reload("")
        proxy.wait_for_log(msg="config reloaded")
        with Client(other) as newcomer:
            newcomer.log_in()
        assert refuses(proxy.port)
        assert client.value("SELECT 1") == "1"
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            proxy.listen = [f"127.0.0.1:{other}", f"127.0.0.1:{taken.getsockname()[1]}"]
            proxy.reload("")
            proxy.wait_for_log(msg="cannot listen")
        assert not refuses(other)


def shell_sighup_opens_the_log_file_again(server):
    with Proxy(server) as proxy:
        os.rename(proxy.log, proxy.log + ".1")
        proxy.process.send_signal(signal.SIGHUP)
        wait_until(lambda: os.path.exists(proxy.log) and proxy.log_where(msg="config reloaded"), "a new log file")


def shell_a_log_that_nobody_reads_stops_neither_clients_nor_the_end(server):
    """And who reads on is told how much was missed."""
    reader, writer = os.pipe()
    with open(reader, "rb") as log, Proxy(server, workers=2) as proxy:
        proxy.stop()
        proxy.log = ""
        proxy.write_config(ATOMIC)
        proxy.process = subprocess.Popen([proxy.binary, "run", "-c", proxy.config], stdout=writer)
        os.close(writer)
        wait_until(lambda: not refuses(proxy.port), "pgatomic to listen")
        for _ in range(300):  # each request is worth more than 256 bytes of a pipe's 64 kB
            with proxy.log_in() as client:
                assert client.value("SELECT 1") == "1"
        seen = log.read1(1 << 20)
        with proxy.log_in() as client:
            assert client.value("SELECT 1") == "1"
        assert proxy.stop() == 0
        lines = [json.loads(line) for line in (seen + log.read()).splitlines()]
        assert sum(line["msg"] == "log_lines_lost" for line in lines) == 1 and lines[-1]["msg"] == "stopped", lines[-10:]


def shell_a_unix_socket_is_made_and_removed(server):
    with Proxy(server) as proxy:
        path = os.path.join(proxy.directory, ".s.PGSQL.6543")
        proxy.listen.append(f"unix:{proxy.directory}:6543")
        proxy.reload("")
        proxy.wait_for_log(msg="config reloaded")
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(path)
        proxy.stop()
        assert not os.path.exists(path)


def shell_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(server):
    with Proxy(server) as proxy:
        path = os.path.join(proxy.directory, ".s.PGSQL.6543")
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(path)
        stale.close()
        proxy.listen.append(f"unix:{proxy.directory}:6543")
        proxy.stop()
        proxy.start()
        proxy.wait_for_log(2, msg="started")
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(path)
        status, said = proxy.run("run", "--upstream", "host=127.0.0.1", "--listen", f"unix:{proxy.directory}:6543")
        assert status == 1 and "in use" in said, said
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(path)


def shell_a_port_that_is_taken_is_exit_status_1(server):
    with Proxy(server) as proxy:
        status, said = proxy.run("run", "--upstream", "host=127.0.0.1", "--listen", f"127.0.0.1:{proxy.port}")
        assert status == 1 and "in use" in said and str(proxy.port) in said, said


def shell_require_upstream_is_exit_status_1_when_it_is_down(server):
    with Proxy(server) as proxy:
        status, said = proxy.run("run", "--upstream", f"host=127.0.0.1 port={free_port()}", "--listen", f"127.0.0.1:{free_port()}",
                                 "--require-upstream")
        assert status == 1 and "Connection refused" in said, said


def shell_bad_usage_is_exit_status_2(server):
    with Proxy(server) as proxy:
        for arguments in ((), ("fly",), ("run",), ("run", "-c"), ("run", "--sideways"), ("run", "-c", "a", "--upstream", "host=b"),
                          ("run", "-c", "a", "--listen", "b"), ("check",), ("check", "--upstream", "host=b"), ("-c",),
                          ("run", "-c", "a", "b"), ("run", "--upstream", "host=a", "--mode", "sideways", "--end", "commit"),
                          ("run", "-c", "/does/not/exist"), ("check", "-c", "/does/not/exist")):
            status, said = proxy.run(*arguments)
            assert status == 2 and said, (arguments, status, said)


def shell_check_prints_a_config_that_it_takes_again(server):
    with Proxy(server, ATOMIC) as proxy:
        status, said = proxy.run("check", "-c", proxy.config)
        assert status == 0, said
        again = os.path.join(proxy.directory, "again.conf")
        with open(again, "w") as file:
            file.write(said)
        assert proxy.run("check", "-c", again) == (0, said)


def shell_check_looks_for_the_files_that_run_will_want(server):
    with Proxy(server) as proxy:
        tls = Certificates(proxy.directory)
        path, nowhere = os.path.join(proxy.directory, "files.conf"), os.path.join(proxy.directory, "nowhere", "file")

        def checked(block, upstream=""):
            with open(path, "w") as file:
                file.write(f'database "*" {{ upstream = "host=127.0.0.1 {upstream}" }}\nauth {{ method = trust }}\n{block}\n')
            return proxy.run("check", "-c", path)

        good = f'client_tls {{ certificate = "{tls.certificate}"  key = "{tls.key}"  ca = "{tls.ca}" }}'
        for block in (good, 'log { file = "pgatomic.log" }', f'log {{ file = "{proxy.directory}/new.log" }}'):
            assert checked(block)[0] == 0, checked(block)
        assert not os.path.exists(f"{proxy.directory}/new.log")
        assert checked("", f"sslmode=verify-full sslrootcert={tls.ca}")[0] == 0
        for said, what in ((checked(good.replace(tls.key, nowhere)), f'{path}:3: client_tls: the key in "{nowhere}" cannot be read'),
                           (checked(good.replace(tls.key, tls.ca_key)), f'{path}:3: client_tls: the key in "{tls.ca_key}" cannot be read'),
                           (checked(good.replace(tls.certificate, nowhere)), f'{path}:3: client_tls: the certificate in "{nowhere}" cannot'),
                           (checked(good.replace(tls.ca, nowhere)), f'{path}:3: client_tls: the certificates in "{nowhere}" cannot'),
                           (checked("", f"sslmode=verify-full sslrootcert={nowhere}"), f'{path}:1: upstream: the certificates in "{nowhere}"'),
                           (checked(f'log {{\nfile = "{nowhere}" }}'), f"{path}:4: file: there is no directory {proxy.directory}/nowhere/")):
            assert said[0] == 2 and said[1].startswith(what), (said, what)


def shell_help_and_version_are_exit_status_0(server):
    with Proxy(server) as proxy:
        assert proxy.run("--version")[0] == 0
        status, said = proxy.run("--help")
        assert status == 0 and all(command in said for command in ("run", "check", "events", "--upstream"))


def shell_it_runs_without_a_config(server):
    with Proxy(server) as proxy:
        upstream = f"host={server.directory} port={server.port}"
        port = free_port()
        proxy.stop()
        process = subprocess.Popen([proxy.binary, "run", "--upstream", upstream, "--listen", f"127.0.0.1:{port}", "--mode", "atomic",
                                    "--end", "commit"], stdout=subprocess.PIPE, universal_newlines=True)
        wait_until(lambda: not refuses(port), "it to listen")
        with Client(port) as client:
            client.log_in()
            client.ask("SELECT 1")
            client.send(TERMINATE)
            assert client.is_closed()
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=30)[0]
        assert process.returncode == 0 and "request_committed" in log, log


def P11_clients_are_spread_over_workers(server):
    """With as many clients as workers, each worker has one: their loops are seen to wake."""
    with Proxy(server, workers=4) as proxy:
        clients = [proxy.log_in() for _ in range(4)]
        threads = f"/proc/{proxy.process.pid}/task"

        def switches():
            found = {}
            for thread in os.listdir(threads):
                with open(os.path.join(threads, thread, "status")) as status:
                    found[thread] = next(int(line.split()[1]) for line in status if line.startswith("voluntary"))
            return found

        before = switches()
        for _ in range(20):
            for client in clients:
                client.ask("SELECT 1")
        after = switches()
        assert sum(after[thread] - before[thread] >= 20 for thread in before) == 4, (before, after)
        for client in clients:
            client.close()
