"""The process: signals, reload, listeners, the command line (P12's drain)."""

import os
import signal
import socket
import subprocess

from proxy import Proxy, free_port, wait_until
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
