"""The admin console: who may use it, what it shows, what it does, and to which clients it talks."""

import asyncio
import os
import socket
import struct
import subprocess

import asyncpg
import psycopg
import psycopg2
from proxy import Proxy, free_port, wait_until
from test_http import metrics, value
from test_outbox import Outbox
from test_tls import client_tls, directory_with_certificates
from wire import SYNC, Client, Upstream, Wire, fields, message, query, startup

BLOCKS = """
admin_users = {"postgres"}
route "checkout" { match = "/checkout/*"  mode = atomic }
route "reports report" { match = "/reports/*"  mode = atomic }
channel "audit" { sink = {"story"}  forward = off }
channel "*" { sink = {"story"} }
sink "story" { type = log }
"""


class Console(Proxy):
    """A proxy that also listens on a unix socket, where its own user is trusted with the console."""

    def __init__(self, server, blocks=BLOCKS, **options):
        super().__init__(server, blocks, **options)
        os.chmod(self.directory, 0o755)
        self.listen.append("unix:" + self.directory)

    def start(self):
        super().start()
        wait_until(lambda: socket.socket(socket.AF_UNIX).connect_ex(self.socket_path()) == 0, "the unix socket")

    def socket_path(self):
        return os.path.join(self.directory, ".s.PGSQL.6432")

    def conninfo(self, user="postgres"):
        return f"host={self.directory} port=6432 user={user} dbname=pgatomic"

    def psql(self, *statements, conninfo=None, **options):
        """Its exit status, and what it said: on standard output, then on standard error."""
        commands = [argument for text in statements for argument in ("-c", text)]
        done = subprocess.run(["psql", "-XAt", conninfo or self.conninfo(), *commands], stdout=subprocess.PIPE, check=False,
                              stderr=subprocess.PIPE, universal_newlines=True, timeout=60, **options)
        return done.returncode, done.stdout, done.stderr

    def ask(self, statement):
        """The rows, as dictionaries."""
        with psycopg.connect(self.conninfo(), autocommit=True, row_factory=psycopg.rows.dict_row) as connection:
            return connection.execute(statement).fetchall()

    def do(self, statement):
        """Its tag."""
        with psycopg.connect(self.conninfo(), autocommit=True) as connection:
            return connection.execute(statement).statusmessage

    def connect_console(self):
        """By hand, up to the first ReadyForQuery."""
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.socket_path())
        wire = Wire(sock)
        wire.send(startup(user="postgres", database="pgatomic"))
        wire.read_until(b"Z")
        return wire

    def refused(self, statement):
        """SQLSTATE and words of the error."""
        try:
            self.do(statement)
        except psycopg.Error as error:
            return error.sqlstate, error.diag.message_primary
        raise AssertionError(f"{statement} was not refused")


# --- who ---------------------------------------------------------------------------------------------------


def shell_the_console_is_for_admin_users_only(server):
    with Console(server) as proxy:
        status, _, errors = proxy.psql("SHOW CLIENTS", conninfo=proxy.conninfo(user="somebody"))
        assert status == 2 and "only admin_users and stats_users may use the console" in errors, errors
        with proxy.connect() as client:
            client.send(startup(user="somebody", database="pgatomic"))
            assert client.fatal()["C"] == "28000"


def shell_stats_users_may_look_and_give_no_order(server):
    looking = BLOCKS.replace("\n", '\nstats_users = {"monitor", "postgres"}\n', 1)
    with Console(server, looking) as proxy, proxy.log_in(application_name="victim") as victim:
        monitor = proxy.conninfo(user="monitor")
        (number,) = [row["id"] for row in proxy.ask("SHOW CLIENTS") if row["application_name"] == "victim"]
        for (subject,) in [row["command"].split()[1:] for row in proxy.ask("SHOW HELP") if row["command"].startswith("SHOW ")]:
            status, out, errors = proxy.psql(f"SHOW {subject}", conninfo=monitor)
            assert (status, errors) == (0, ""), (subject, errors)
            assert "***" not in out
        orders = ("RELOAD", "PAUSE", "RESUME", "RECONNECT postgres", f"KILL {number}", "SHUTDOWN", "SHUTDOWN WAIT",
                  "SET route.checkout.mode = 'autocommit'")
        with psycopg.connect(monitor, autocommit=True) as connection:
            for order in orders:
                for prepare in (False, True):
                    try:
                        connection.execute(order, prepare=prepare)
                    except psycopg.Error as error:
                        assert error.sqlstate == "42501" and "stats_users may SHOW" in error.diag.message_primary, (order, error)
                    else:
                        raise AssertionError(f"{order} was obeyed")
                status, _, errors = proxy.psql(order, conninfo=monitor)
                assert status == 1 and "only admin_users may give orders" in errors, (order, errors)
            connection.execute("SET client_encoding TO 'UTF8'")
        assert victim.value("SELECT 1") == "1" and not proxy.log_where(msg="admin command")
        assert proxy.do("RELOAD") == "RELOAD", "who is among both is an admin"
        users = {row["name"]: (row["admin"], row["stats"]) for row in proxy.ask("SHOW USERS")}
        assert users == {"postgres": ("yes", "yes"), "monitor": ("no", "yes")}, users
        assert {row["list"]: row["items"] for row in proxy.ask("SHOW LISTS")}["users"] == 2
        assert proxy.psql("SHOW VERSION", conninfo=proxy.conninfo(user="somebody"))[0] == 2


def shell_a_reload_changes_what_those_who_are_logged_in_already_may_do(server):
    with PoolConsole(server) as proxy, psycopg.connect(proxy.conninfo(), autocommit=True) as connection:
        def allowed():
            done = set()
            for statement in ("SHOW VERSION", "RECONNECT"):
                try:
                    connection.execute(statement)
                    done.add(statement)
                except psycopg.errors.InsufficientPrivilege:
                    pass
            return done

        admins = proxy.blocks
        assert allowed() == {"SHOW VERSION", "RECONNECT"}
        for blocks, want in ((admins.replace("admin_users", "stats_users"), {"SHOW VERSION"}), (admins.replace('{"postgres"}', '{"other"}'), set()),
                             (admins, {"SHOW VERSION", "RECONNECT"})):
            proxy.reload(blocks)
            wait_until(lambda want=want: allowed() == want, f"{want} to be allowed")


def shell_there_is_a_console_where_there_are_only_stats_users(server):
    with Console(server, 'stats_users = {"monitor"}\n') as proxy:
        assert proxy.psql("SHOW VERSION", conninfo=proxy.conninfo(user="monitor"))[0] == 0
        assert proxy.psql("SHOW VERSION")[0] == 2, "postgres is neither"


def shell_passthrough_knows_no_passwords_so_the_system_has_to_vouch_for_an_admin(server):
    with Console(server) as proxy:
        status, _, errors = proxy.psql("SHOW CLIENTS", conninfo=f"host=127.0.0.1 port={proxy.port} user=postgres dbname=pgatomic")
        assert status == 2 and "only connections over a unix socket" in errors, errors
        assert proxy.psql("SHOW VERSION")[0] == 0
        status, _, errors = proxy.psql("SHOW VERSION", user="nobody")
        assert status == 2 and "of the user that runs pgatomic or of root" in errors, errors


def shell_kill_without_authorization_does_nothing(server):
    with Console(server) as proxy, proxy.log_in() as victim, proxy.log_in() as attacker:
        (number,) = [row["id"] for row in proxy.ask("SHOW CLIENTS") if row["port"] == victim.socket.getsockname()[1]]
        kind, body = attacker.ask(f"KILL {number}")[0]
        assert kind == b"E" and fields(body)["C"] == "42601", "PostgreSQL's own words: it knows no KILL"
        assert proxy.psql(f"KILL {number}", conninfo=proxy.conninfo(user="somebody"))[0] == 2
        with proxy.connect() as stranger:
            stranger.send(startup(user="somebody", database="pgatomic") + query(f"KILL {number}"))
            assert stranger.fatal()["C"] == "28000"
        assert victim.value("SELECT 1") == "1"
        assert not proxy.log_where(msg="admin command")


def shell_without_admin_users_pgatomic_is_a_database_like_any_other(server):
    server.create_database("pgatomic")
    try:
        with Proxy(server) as proxy, proxy.log_in(database="pgatomic") as client:
            assert client.value("SELECT current_database()") == "pgatomic"
    finally:
        server.sql("DROP DATABASE pgatomic WITH (FORCE)")


# --- what it shows -------------------------------------------------------------------------------------------


def shell_show_clients_servers_and_pools(server):
    with Console(server, workers=3) as proxy:
        with proxy.log_in(application_name="shop") as one, proxy.log_in() as other:
            one.ask("BEGIN")
            other.value("SELECT 1")
            rows = [row for row in proxy.ask("SHOW CLIENTS") if row["state"] != "admin"]
            assert [(row["application_name"], row["state"], row["database"]) for row in rows] == [
                ("shop", "active", "postgres"), ("", "idle", "postgres")], rows
            assert rows[0]["id"] < rows[1]["id"] and rows[1]["queries"] == 1 and rows[1]["transactions"] >= 1
            servers = proxy.ask("SHOW SERVERS")
            assert [row["client_id"] for row in servers] == [row["id"] for row in rows]
            assert all(row["addr"] for row in servers)
            (pool,) = proxy.ask("SHOW POOLS")
            assert (pool["database"], pool["user"], pool["cl_active"], pool["cl_idle"], pool["sv_active"], pool["sv_idle"], pool["pool_mode"]) == (
                "postgres", "postgres", 2, 1, 1, 1, "dedicated"), pool
        wait_until(lambda: proxy.ask("SHOW POOLS") == [], "the clients to be gone")
        (stats,) = proxy.ask("SHOW STATS")
        assert stats["database"] == "postgres" and stats["total_query_count"] >= 2 and stats["total_login_count"] == 2


PGBOUNCERS = {
    "CLIENTS": "type user database state addr port connect_time wait wait_us tls application_name id",
    "SERVERS": "type user database state addr port connect_time remote_pid tls application_name",
    "POOLS": "database user cl_active cl_waiting sv_active sv_idle sv_used sv_login maxwait maxwait_us pool_mode",
    "DATABASES": "name host port database force_user pool_size min_pool_size reserve_pool_size server_lifetime pool_mode max_connections "
                 "current_connections max_client_connections current_client_connections paused disabled",
}


def shell_columns_have_pgbouncers_names_and_order_and_ours_stand_behind(server):
    with Console(server) as proxy, psycopg.connect(proxy.conninfo(), autocommit=True) as connection:
        for subject, columns in PGBOUNCERS.items():
            found = [column.name for column in connection.execute(f"SHOW {subject}").description]
            assert found[:len(columns.split())] == columns.split(), (subject, found)


def shell_show_clients_tells_who_the_admins_are_and_where_everybody_comes_from(server):
    with Console(server) as proxy, proxy.log_in() as client, Client(proxy.port) as stranger:
        def told():
            return sorted((row["state"], row["user"], row["database"], row["addr"], row["port"]) for row in proxy.ask("SHOW CLIENTS"))

        want = [("admin", "postgres", "pgatomic", "unix", 0), ("idle", "postgres", "postgres", "127.0.0.1", client.socket.getsockname()[1]),
                ("startup", "", "", "127.0.0.1", stranger.socket.getsockname()[1])]
        wait_until(lambda: told() == want, "everybody to be shown")
        (row,) = proxy.ask("SHOW SERVERS")
        assert (row["addr"], row["port"]) == (f"{server.directory}/.s.PGSQL.{server.port}", server.port), row


def P10_show_clients_and_servers_tells_of_tls_and_of_the_application(server):
    with directory_with_certificates() as tls, Proxy(server, client_tls(tls, "prefer")) as inner:
        for mode in ("disable", "require"):
            upstream = f"host=127.0.0.1 port={inner.port} dbname=postgres sslmode={mode}"
            blocks = (BLOCKS + client_tls(tls, "prefer") + "auth { method = trust }\n"
                      f'database "own" {{ upstream = "{upstream}" }}\ndatabase "*" {{ upstream = "{upstream}"  pool = transaction }}\n')
            with Console(server, blocks, database=False) as proxy:
                for database in ("own", "pooled"):
                    conninfo = f"host=127.0.0.1 port={proxy.port} user=postgres dbname={database} application_name=shop sslmode={mode}"
                    with psycopg.connect(conninfo) as connection:
                        connection.execute("SELECT 1")
                        (client,) = [row for row in proxy.ask("SHOW CLIENTS") if row["database"] == database]
                        (its,) = [row for row in proxy.ask("SHOW SERVERS") if row["client_id"] == client["id"]]
                        for row in (client, its):
                            assert row["tls"].startswith("TLSv1.3/TLS_") if mode == "require" else row["tls"] == "", row
                            assert row["application_name"] == "shop", row
                        assert (its["addr"], its["port"]) == ("127.0.0.1", inner.port), its
                (idle,) = wait_until(lambda proxy=proxy: [row for row in proxy.ask("SHOW SERVERS") if row["state"] == "idle"], "the client to be gone")
                assert (idle["application_name"], idle["client_id"]) == ("", None), idle


def E3_show_requests_and_events(server):
    with Console(server) as proxy, proxy.log_in(application_name="shop") as client:
        client.ask("SET pgatomic.request = '/checkout/5'")
        client.ask("SELECT 1")
        client.ask("NOTIFY audit, 'é'")
        (request,) = proxy.ask("SHOW REQUESTS")
        assert (request["label"], request["route"], request["state"], request["held"]) == ("/checkout/5", "checkout", "waiting", 1)
        (event,) = proxy.ask("SHOW EVENTS")
        assert (event["channel"], event["payload"], event["state"], event["settled"]) == ("audit", "é", "held", None)
        assert event["request"] == request["request"]
        client.ask("SET pgatomic.outcome = 'commit'")
        (event,) = proxy.ask("SHOW EVENTS")
        assert event["state"] == "delivered" and event["deliveries"] == "story delivered 1" and event["settled"]
        assert proxy.ask("SHOW REQUESTS") == []
        checkout, _ = proxy.ask("SHOW ROUTES")
        assert (checkout["route"], checkout["mode"], checkout["committed"], checkout["rolled_back"]) == ("checkout", "atomic", 1, 0)
        audit, _ = proxy.ask("SHOW CHANNELS")
        assert (audit["channel"], audit["sinks"], audit["forward"], audit["held"], audit["delivered"]) == ("audit", "story", "no", 1, 1)
        (sink,) = proxy.ask("SHOW SINKS")
        assert (sink["sink"], sink["type"], sink["delivered"], sink["queued"]) == ("story", "log", 1, 0)


def shell_every_table_can_be_shown(server):
    with Console(server) as proxy:
        commands = [row["command"] for row in proxy.ask("SHOW HELP")]
        for subject in ("REQUESTS EVENTS ROUTES CHANNELS SINKS OUTBOX POOLS CLIENTS SERVERS DATABASES USERS LISTS STATS STATS_TOTALS STATS_AVERAGES "
                        "CONFIG VERSION HELP").split():
            assert f"SHOW {subject}" in commands
            status, _, errors = proxy.psql(f"show {subject.lower()};")
            assert (status, errors) == (0, ""), errors


def shell_show_config_shows_no_secret(server):
    blocks = BLOCKS + """
database "other" { upstream = "host=127.0.0.1"  control = "host=127.0.0.1 dbname=postgres user=me password=hush-hush" }
sink "hook" { type = webhook  url = "http://me:sesame@127.0.0.1:1/?token=abracadabra"  secret = "whsec_c2VjcmV0" }
"""
    with Console(server, blocks) as proxy:
        text = "\n".join(row["config"] for row in proxy.ask("SHOW CONFIG"))
        assert 'database "other"' in text and 'sink "hook"' in text and "***" in text
        for secret in ("hush-hush", "sesame", "abracadabra", "c2VjcmV0"):
            assert secret not in text, secret


# --- what it does ---------------------------------------------------------------------------------------------


def shell_kill_ends_one_client(server):
    with Console(server, workers=2) as proxy, proxy.log_in(application_name="victim") as victim, proxy.log_in() as other:
        victim.ask("BEGIN")
        (number,) = [row["id"] for row in proxy.ask("SHOW CLIENTS") if row["application_name"] == "victim"]
        assert proxy.do(f"KILL {number}") == "KILL"
        error = victim.fatal()
        assert (error["C"], error["M"]) == ("57P01", "terminating connection due to administrator command")
        assert other.value("SELECT 1") == "1"
        wait_until(lambda: proxy.refused(f"KILL {number}") == ("42704", f"there is no client with the id {number}"), "it to be gone")
        (line, *_) = proxy.log_where(msg="admin command")
        assert (line["user"], line["command"], line["id"]) == ("postgres", "KILL", number)


def shell_an_admin_may_kill_his_own_connection(server):
    with Console(server) as proxy:
        connection = psycopg.connect(proxy.conninfo(), autocommit=True)
        (number,) = [row["id"] for row in proxy.ask("SHOW CLIENTS")[:1]]
        try:
            connection.execute(f"KILL {number}")
        except psycopg.OperationalError as error:
            assert error.sqlstate == "57P01"
        else:
            raise AssertionError("it is still there")
        assert proxy.psql("SHOW VERSION")[0] == 0


def R11_a_route_is_switched_off_for_requests_that_begin_from_now_on(server):
    server.sql("CREATE TABLE switched (n int)")
    with Console(server, workers=2) as proxy, proxy.log_in() as before, proxy.log_in() as after:
        before.ask("SET pgatomic.request = '/checkout/1'")
        before.ask("INSERT INTO switched VALUES (1)")
        assert proxy.do("SET route.checkout.mode = 'autocommit'") == "SET"
        assert [row["mode"] for row in proxy.ask("SHOW ROUTES")] == ["autocommit", "atomic"]
        after.ask("SET pgatomic.request = '/checkout/2'")
        after.ask("INSERT INTO switched VALUES (2)")
        after.ask("SET pgatomic.outcome = 'rollback'")
        before.ask("INSERT INTO switched VALUES (10)")
        before.ask("SET pgatomic.outcome = 'rollback'")
        assert server.sql("SELECT n FROM switched") == [["2"]], "one was atomic when it began, the other was not"
        assert proxy.do("RELOAD") == "RELOAD"
        assert [row["mode"] for row in proxy.ask("SHOW ROUTES")] == ["atomic", "atomic"]
        assert proxy.do("""SET route."reports report".mode TO required""") == "SET"
        assert [row["mode"] for row in proxy.ask("SHOW ROUTES")] == ["atomic", "required"]
        assert 'mode = required' in "\n".join(row["config"].strip() for row in proxy.ask("SHOW CONFIG"))
        assert proxy.refused("SET route.nothing.mode = 'atomic'")[0] == "42704"
        assert proxy.refused("SET route.checkout.mode = 'often'")[0] == "42601"
        assert proxy.refused("SET route.checkout.timeout = '1s'")[0] == "42601"
    server.sql("DROP TABLE switched")


def shell_reload_tells_what_is_wrong_with_the_file(server):
    with Console(server) as proxy:
        assert proxy.do("RELOAD") == "RELOAD"
        proxy.write_config(BLOCKS + 'route "x" { mode = sometimes }\n')
        sqlstate, words = proxy.refused("RELOAD")
        assert sqlstate == "F0000" and "mode: expected autocommit" in words and proxy.config in words, words
        assert len(proxy.ask("SHOW ROUTES")) == 2


def shell_reload_refuses_a_config_whose_files_cannot_be_used(server):
    with Console(server) as proxy:
        path = os.path.join(proxy.directory, "half.pem")
        with open(path, "w", encoding="ascii") as file:
            file.write("-----BEGIN CERTIFICATE-----\n")
        proxy.write_config(BLOCKS + f'client_tls {{ certificate = "{path}"  key = "{path}" }}\nroute "new" {{ database = "*" }}\n')
        sqlstate, words = proxy.refused("RELOAD")
        assert sqlstate == "F0000" and path in words and proxy.config in words, words
        assert len(proxy.ask("SHOW ROUTES")) == 2, "and nothing else of it holds"


def shell_reload_tells_what_could_not_be_done(server):
    with Console(server) as proxy, psycopg.connect(proxy.conninfo(), autocommit=True) as connection, socket.socket() as taken:
        notices = []
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        log, proxy.log = proxy.log, proxy.directory
        proxy.listen.append(f"127.0.0.1:{taken.getsockname()[1]}")
        proxy.write_config(BLOCKS)
        assert connection.execute("RELOAD").statusmessage == "RELOAD", "the rest of it holds from now on"
        assert len(notices) == 1 and "the log file cannot be opened" in notices[0] and "not all addresses" in notices[0], notices
        proxy.log = log
        del proxy.listen[-1]
        proxy.write_config(BLOCKS)
        connection.execute("RELOAD")
        assert len(notices) == 1, notices


def shell_reload_tells_what_takes_a_restart(server):
    with Console(server, workers=2) as proxy, psycopg.connect(proxy.conninfo(), autocommit=True) as connection:
        notices = []
        connection.add_notice_handler(lambda notice: notices.append((notice.severity, notice.message_primary)))
        assert connection.execute("RELOAD").statusmessage == "RELOAD" and notices == []
        proxy.workers = 3
        proxy.write_config(BLOCKS)
        for times in (1, 2):
            assert connection.execute("RELOAD").statusmessage == "RELOAD", "the rest of it holds from now on"
            assert notices == [("NOTICE", "a change of workers takes a restart")] * times, "for as long as it is so"
        assert len(proxy.wait_for_log(2, msg="a change of workers takes a restart")) == 2
        proxy.workers = 2
        proxy.write_config(BLOCKS)
        connection.execute("RELOAD")
        assert len(notices) == 2


def P12_shutdown_wait_lets_requests_finish(server):
    with Console(server, workers=2) as proxy, proxy.log_in() as client:
        client.ask("SET pgatomic.request = '/checkout/1'")
        client.ask("SELECT 1")
        proxy.psql("SHUTDOWN WAIT")
        proxy.wait_for_log(msg="draining")
        assert client.value("SELECT 2") == "2"
        client.ask("SET pgatomic.outcome = 'commit'")
        assert client.fatal()["C"] == "57P01"
        wait_until(lambda: proxy.process.poll() == 0, "pgatomic to end")


def shell_what_pgbouncer_calls_otherwise_is_done_under_its_name_too(server):
    with Console(server) as proxy, proxy.log_in(application_name="victim") as victim, proxy.log_in() as other:
        (number,) = [row["id"] for row in proxy.ask("SHOW CLIENTS") if row["application_name"] == "victim"]
        assert proxy.do(f"KILL_CLIENT {number}") == "KILL_CLIENT"
        assert victim.fatal()["C"] == "57P01"
        other.ask("BEGIN")
        proxy.psql("SHUTDOWN WAIT_FOR_SERVERS")
        proxy.wait_for_log(msg="draining")
        assert other.value("SELECT 2") == "2"
        other.ask("COMMIT")
        assert other.fatal()["C"] == "57P01"
        wait_until(lambda: proxy.process.poll() == 0, "pgatomic to end")


def shell_shutdown_ends_everybody_now(server):
    with Console(server, workers=2) as proxy, proxy.log_in() as client:
        client.ask("BEGIN")
        proxy.psql("SHUTDOWN")
        assert client.fatal()["C"] == "57P01"
        wait_until(lambda: proxy.process.poll() == 0, "pgatomic to end")


# --- pools -----------------------------------------------------------------------------------------------------


class PoolConsole(Console):
    """With a pool of two servers in front of `server`, for whoever comes: the console's admins too."""

    def __init__(self, server, **options):
        upstream = f"host={server.directory} port={server.port}"
        blocks = (BLOCKS + "auth { method = trust }\n"
                  f'database "*" {{ upstream = "{upstream}"  pool = transaction  pool_size = 2 }}\n')
        super().__init__(server, blocks, database=False, **options)

    def pool(self):
        (row,) = self.ask("SHOW POOLS")
        return row


def P3_show_pools_counts_clients_that_wait(server):
    with PoolConsole(server, workers=2, http=True) as proxy:
        clients = [proxy.log_in() for _ in range(3)]
        for client in clients[:2]:
            client.ask("BEGIN")
        clients[2].send(query("SELECT 1"))
        pool = wait_until(lambda: proxy.pool() if proxy.pool()["cl_waiting"] == 1 else None, "the third to wait")
        assert (pool["cl_active"], pool["cl_idle"], pool["sv_active"], pool["sv_idle"], pool["pool_size"]) == (2, 0, 2, 0, 2), pool
        assert (pool["pool_mode"], pool["paused"]) == ("transaction", "no") and pool["maxwait_us"] + pool["maxwait"] > 0
        rows = proxy.ask("SHOW CLIENTS")
        assert [row["state"] for row in rows if row["wait"] + row["wait_us"] > 0] == ["waiting"], rows
        ids = [row["id"] for row in proxy.ask("SHOW CLIENTS") if row["state"] == "active"]
        assert [(row["state"], row["client_id"]) for row in proxy.ask("SHOW SERVERS")] == [("active", each) for each in ids]
        found = metrics(proxy)
        assert value(found, "pgatomic_clients_waiting") == 1
        assert value(found, "pgatomic_servers", state="active") == 2 and value(found, "pgatomic_servers", state="idle") == 0
        clients[0].ask("COMMIT")
        clients[2].read_until(b"Z")
        pool = proxy.pool()
        assert (pool["cl_active"], pool["cl_idle"], pool["cl_waiting"]) == (3, 2, 0) and pool["waits"] >= 1 and pool["wait_us"] > 0, pool
        assert value(metrics(proxy), "pgatomic_wait_seconds_total") > 0
        for client in clients:
            client.close()


def P3_who_waits_before_his_login_is_done_is_waiting_and_not_active(server):
    with Upstream(lambda wire: wire.take(1 << 20)) as silent:
        blocks = (BLOCKS + "auth { method = trust }\n"
                  f'database "*" {{ upstream = "host=127.0.0.1 port={silent.port} sslmode=disable"  pool = transaction }}\n')
        with Console(server, blocks, database=False) as proxy, Client(proxy.port) as client:
            client.send(startup(user="postgres", database="postgres"))
            (pool,) = wait_until(lambda: [row for row in proxy.ask("SHOW POOLS") if row["cl_waiting"]], "the client to wait")
            assert (pool["cl_active"], pool["cl_idle"], pool["cl_waiting"]) == (0, 0, 1), pool


def P5_the_metric_and_the_log_name_what_keeps_a_server(server):
    with PoolConsole(server, workers=2, http=True) as proxy:
        for statement in ("CREATE TEMP TABLE kept (n int)", "CREATE TEMP TABLE kept (n int)", "SELECT pg_advisory_lock(1)"):
            with proxy.log_in() as client:
                client.ask(statement)
                client.ask("SELECT 1")
        causes = {labels["cause"]: count for labels, count in metrics(proxy)["pgatomic_pinned_total"] if labels["database"] == "postgres"}
        assert causes == {"temporary table": 2, "advisory lock": 1}, causes
        lines = proxy.log_where(msg="the client keeps its server until it goes or says DISCARD ALL")
        assert [line["detail"] for line in lines] == ["temporary table", "temporary table", "advisory lock"]
        assert wait_until(lambda: sum(row["pinned"] for row in proxy.ask("SHOW POOLS")) == 3, "the pins to be counted")


def shell_show_users_lists_and_databases(server):
    with PoolConsole(server, workers=2) as proxy:
        with proxy.log_in() as one, proxy.log_in() as other:
            one.ask("BEGIN")
            other.value("SELECT 1")
            (user,) = [row for row in proxy.ask("SHOW USERS") if row["name"] == "postgres"]
            assert (user["current_client_connections"], user["admin"]) == (2, "yes") and user["current_connections"] >= 1, user
            lists = {row["list"]: row["items"] for row in proxy.ask("SHOW LISTS")}
            assert lists["databases"] == lists["users"] == lists["pools"] == lists["admin_clients"] == 1, lists
            assert lists["used_clients"] == 2 and lists["used_servers"] == 1 and lists["login_clients"] == 0, lists
            (database,) = proxy.ask("SHOW DATABASES")
            assert (database["name"], database["host"], database["port"], database["pool_size"], database["pool_mode"],
                    database["paused"]) == ("*", server.directory, server.port, 2, "transaction", 0), database
            assert database["current_connections"] == user["current_connections"] and database["current_client_connections"] == 2
            assert (database["server_lifetime"], database["disabled"], database["max_connections"]) == (3600, 0, 0)


def P12_pause_and_reconnect_of_a_name_that_nobody_uses_say_so(server):
    with PoolConsole(server) as proxy, proxy.log_in(), psycopg.connect(proxy.conninfo(), autocommit=True) as connection:
        notices = []
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        for statement in ("RECONNECT postgres", "PAUSE postgres", "RESUME postgres", "RECONNECT"):
            connection.execute(statement)
        assert notices == [], "it has a client"
        for statement in ("PAUSE postgers", "RECONNECT postgers"):
            connection.execute(statement)
            assert len(notices) == 1 and "no database block has this name" in notices.pop(), statement
        connection.execute("RESUME postgers")
        assert notices == []


def P3_reconnect_replaces_servers_when_they_are_free(server):
    with PoolConsole(server) as proxy, proxy.log_in() as client:
        client.ask("BEGIN")
        before = client.value("SELECT pg_backend_pid()")
        assert proxy.do("RECONNECT postgres") == "RECONNECT"
        assert client.value("SELECT pg_backend_pid()") == before
        client.ask("COMMIT")
        assert client.value("SELECT pg_backend_pid()") != before


def P9_an_admin_logs_in_as_every_client_does(server):
    users = 'user "postgres" { password = "opensesame" }\nuser "other" { password = "opensesame" }\n'
    with Console(server) as proxy:
        path = os.path.join(proxy.directory, "users.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(users)
        proxy.reload(BLOCKS + f'auth {{ method = scram-sha-256  users = "{path}" }}\n')
        proxy.wait_for_log(msg="config reloaded")
        tcp = f"host=127.0.0.1 port={proxy.port} dbname=pgatomic"
        assert proxy.psql("SHOW VERSION", conninfo=f"{tcp} user=postgres password=opensesame")[0] == 0
        status, _, errors = proxy.psql("SHOW VERSION", conninfo=f"{tcp} user=postgres password=guess")
        assert status == 2 and "password authentication failed" in errors, errors
        status, _, errors = proxy.psql("SHOW VERSION", conninfo=f"{tcp} user=other password=opensesame")
        assert status == 2 and "only admin_users" in errors, errors
        assert proxy.psql("SHOW VERSION", conninfo=proxy.conninfo() + " password=guess")[0] == 2


# --- to whom it talks ------------------------------------------------------------------------------------------


def shell_what_the_console_does_not_know_is_an_error_like_postgresqls(server):
    with Console(server) as proxy:
        cases = {"SELECT 1": 'syntax error at or near "SELECT"', "SHOW": "syntax error at end of input",
                 "SHOW NOTHING": 'syntax error at or near "NOTHING"', "KILL": "syntax error at end of input",
                 "KILL -1": 'syntax error at or near "-"',
                 "KILL 1 2": 'syntax error at or near "2"', "RELOAD now": 'syntax error at or near "now"',
                 "SET route": "syntax error at end of input", "SHUTDOWN WAIT 5": 'syntax error at or near "5"'}
        for statement, words in cases.items():
            assert proxy.refused(statement) == ("42601", words), statement
            assert "SHOW HELP lists the commands." in proxy.psql(statement)[2], statement
        assert proxy.ask("SHOW VERSION")[0]["version"].startswith("pgatomic ")


def shell_what_only_other_consoles_have_is_refused_with_a_hint(server):
    with Console(server) as proxy:
        for statement in ("SHOW MEM", "SHOW SOCKETS", "SHOW ACTIVE_SOCKETS", "SHOW FDS", "SHOW DNS_HOSTS", "SHOW PEERS", "DISABLE shop", "ENABLE shop",
                          "SUSPEND", "WAIT_CLOSE", "WAIT_CLOSE shop", "KILL shop", "SHUTDOWN WAIT_FOR_CLIENTS", "SET default_pool_size = 5",
                          "SHOW PREPARED_STATEMENTS", "SHOW HBA"):
            try:
                proxy.do(statement)
            except psycopg.Error as error:
                assert error.sqlstate == "0A000" and error.diag.message_hint, statement
            else:
                raise AssertionError(f"{statement} was not refused")


def shell_a_string_of_several_statements_runs_up_to_the_first_error(server):
    with Console(server) as proxy:
        status, out, errors = proxy.psql("SHOW VERSION; SHOW NOTHING; SHOW VERSION")
        assert status == 1 and "NOTHING" in errors and out.count("pgatomic ") == 1, (out, errors)
        assert proxy.psql("SHOW VERSION; /* ; */ SHOW VERSION;")[1].count("pgatomic ") == 2
        assert proxy.psql(";")[0] == 0 and proxy.psql("-- nothing")[0] == 0


def shell_psycopg2_in_a_transaction(server):
    with Console(server) as proxy:
        connection = psycopg2.connect(proxy.conninfo())
        with connection.cursor() as cursor:
            cursor.execute("SHOW POOLS")
            assert [column.name for column in cursor.description][:2] == ["database", "user"] and cursor.fetchall() == []
        connection.commit()
        connection.close()


def shell_psycopg_prepared_and_in_binary(server):
    with Console(server) as proxy, proxy.log_in(), psycopg.connect(proxy.conninfo()) as connection:
        for _ in range(8):
            (row,) = connection.execute("SHOW POOLS", binary=True, prepare=True).fetchall()
            assert row[:4] == ("postgres", "postgres", 1, 0), row


def shell_asyncpg_fetches(server):
    async def run(conninfo):
        connection = await asyncpg.connect(host=conninfo["host"], port=6432, user="postgres", database="pgatomic")
        for _ in range(3):
            (row,) = await connection.fetch("SHOW POOLS")
            assert dict(row)["cl_idle"] == 1 and dict(row)["database"] == "postgres"
        try:
            await connection.fetch("SHOW NOTHING")
        except asyncpg.PostgresSyntaxError:
            pass
        assert (await connection.fetchrow("SHOW VERSION"))["version"].startswith("pgatomic")
        await connection.close()

    with Console(server) as proxy, proxy.log_in():
        asyncio.run(run({"host": proxy.directory}))


def shell_pipelined_messages_wait_for_their_turn(server):
    with Console(server, workers=2) as proxy:
        with psycopg.connect(proxy.conninfo(), autocommit=True) as connection, connection.pipeline():
            cursors = [connection.execute("SHOW VERSION") for _ in range(20)]
            assert all(cursor.fetchone()[0].startswith("pgatomic") for cursor in cursors)


def P2_what_the_console_does_not_take_ends_the_connection(server):
    with Console(server) as proxy:
        for data in (b"d\0\0\0\5x", b"\0\0\0\0\0", b"Q\0\0\0\3", b"Q\x7f\xff\xff\xff", b"p\0\0\0\5x", b"B\0\0\0\5\0", b"Q\0\0\0\7abc"):
            with proxy.connect_console() as client:
                client.send(data)
                assert client.fatal()["C"] == "08P01", data
        assert proxy.psql("SHOW VERSION")[0] == 0


def shell_prepared_statements_have_a_limit(server):
    with Console(server) as proxy, psycopg.connect(proxy.conninfo(), autocommit=True) as connection:
        results = [connection.pgconn.prepare(f"s{number}".encode(), b"SHOW VERSION") for number in range(101)]
        states = [result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) for result in results]
        assert states == [None] * 100 + [b"54000"], states
        assert connection.execute("SHOW VERSION").fetchone()


def shell_an_execute_with_a_limit_of_rows_gets_so_many(server):
    with Console(server) as proxy, proxy.connect_console() as client:
        everything = [row["command"] for row in proxy.ask("SHOW HELP")]

        def execute(limit):
            client.send(message(b"E", b"p\0" + struct.pack("!I", limit)) + SYNC)
            return client.read_until(b"Z")[:-1]

        def commands(replies):
            return [body[6:6 + struct.unpack("!i", body[2:6])[0]].decode() for kind, body in replies if kind == b"D"]

        client.send(message(b"P", b"s\0SHOW HELP\0\0\0") + message(b"B", b"p\0s\0" + struct.pack("!HHH", 0, 0, 0)))
        first, second, third = execute(2), execute(3), execute(0)
        assert [kind for kind, _ in first] == [b"1", b"2", b"D", b"D", b"s"], first
        assert [kind for kind, _ in second] == [b"D"] * 3 + [b"s"], second
        assert third[-1] == (b"C", b"SHOW\0") and commands(first + second + third) == everything
        client.send(message(b"B", b"p\0s\0" + struct.pack("!HHH", 0, 0, 0)))
        assert commands(execute(len(everything))) == everything
        assert execute(5) == [(b"C", b"SHOW\0")], "as in PostgreSQL, which does not look for a row behind the last"


def shell_a_portal_that_is_run_again_and_again_keeps_the_rows_of_one_run(server):
    with Console(server, workers=1) as proxy, proxy.connect_console() as client:
        def run(times):
            client.send((message(b"E", b"p\0" + struct.pack("!I", 10000))) * times + SYNC)
            return [body for kind, body in client.read_until(b"Z") if kind == b"D"]

        client.send(message(b"P", b"s\0SHOW HELP\0\0\0") + message(b"B", b"p\0s\0" + struct.pack("!HHH", 0, 0, 0)))
        once = run(1)
        assert run(20) == once * 20
        before = proxy.memory_kb()
        for _ in range(200):
            assert len(run(20)) == len(once) * 20
        kept_kb = 200 * 20 * sum(map(len, once)) // 1024
        assert proxy.memory_kb() - before < kept_kb / 2, (before, proxy.memory_kb(), kept_kb)


def shell_a_statement_that_was_refused_is_not_prepared(server):
    with Console(server) as proxy, proxy.connect_console() as client:
        for text, sqlstate in ((b"SHOW NOTHING", "42601"), (b"SUSPEND", "0A000")):
            client.send(message(b"P", b"s\0" + text + b"\0\0\0") + SYNC)
            parsed = client.read_until(b"Z")
            client.send(message(b"B", b"p\0s\0" + struct.pack("!HHH", 0, 0, 0)) + SYNC)
            bound = client.read_until(b"Z")
            states = [fields(body)["C"] for kind, body in parsed + bound if kind == b"E"]
            assert states == [sqlstate, "26000"], (text, states)


# --- settings of the upstream ------------------------------------------------------------------------------------


def P5_who_logs_in_after_a_reconnect_is_told_the_databases_new_settings(server):
    server.create_database("resettled")
    try:
        with PoolConsole(server, workers=2) as proxy:
            with proxy.log_in(database="resettled") as before:
                assert before.parameters["TimeZone"] != "Asia/Kolkata"
                server.sql("ALTER DATABASE resettled SET timezone = 'Asia/Kolkata'")
                proxy.do("RECONNECT resettled")
                with proxy.log_in(database="resettled") as after:
                    assert after.parameters["TimeZone"] == after.value("SHOW timezone") == "Asia/Kolkata"
                assert before.value("SHOW timezone") == "Asia/Kolkata", "as on any new server"
    finally:
        server.sql("DROP DATABASE resettled WITH (FORCE)")


def shell_show_stats_tells_how_long_queries_transactions_and_waits_took(server):
    """In a pool, with a server that stays, and with one of the client's own."""
    own = f'database "own" {{ upstream = "host={server.directory} port={server.port} dbname=postgres" }}\n'
    kept = f'database "kept" {{ upstream = "host={server.directory} port={server.port} dbname=postgres"  pool = session }}\n'

    def stats(proxy, database):
        (row,) = [row for row in proxy.ask("SHOW STATS") if row["database"] == database]
        return row

    with PoolConsole(server, workers=2, http=True) as proxy:
        proxy.reload(own + kept + proxy.blocks)
        proxy.wait_for_log(msg="config reloaded")
        for database in ("postgres", "own", "kept"):
            with proxy.log_in(database=database) as client:
                client.ask("BEGIN")
                client.ask("SELECT pg_sleep(0.2)")
                running = stats(proxy, database)
                assert 200_000 <= running["total_query_time"] <= running["total_xact_time"], running
                wait_until(lambda: stats(proxy, database)["total_xact_time"] > running["total_xact_time"], "the open transaction to go on")
                assert stats(proxy, database)["total_query_time"] == running["total_query_time"], "nothing runs in it"
                client.ask("COMMIT")
                ended = stats(proxy, database)
                assert stats(proxy, database)["total_xact_time"] == ended["total_xact_time"], "nothing is open"
                assert ended["avg_xact_time"] * ended["total_xact_count"] <= ended["total_xact_time"], ended
                assert ended["avg_query_time"] > 0, ended
            wait_until(lambda: stats(proxy, database)["total_xact_time"] == ended["total_xact_time"], "it to outlive its client")
            (totals,) = [row for row in proxy.ask("SHOW STATS_TOTALS") if row["database"] == database]
            assert totals == {name: count for name, count in ended.items() if name in totals}
            found = metrics(proxy)
            assert value(found, "pgatomic_query_seconds_total", database=database) >= 0.2
            assert value(found, "pgatomic_transaction_seconds_total", database=database) >= value(
                found, "pgatomic_query_seconds_total", database=database)


def shell_show_stats_counts_waits(server):
    with PoolConsole(server) as proxy:
        clients = [proxy.log_in() for _ in range(3)]
        for client in clients[:2]:
            client.ask("BEGIN")
        clients[2].send(query("SELECT 1"))
        wait_until(lambda: proxy.pool()["cl_waiting"] == 1, "the third to wait")
        before = proxy.ask("SHOW STATS")[0]
        clients[0].ask("COMMIT")
        clients[2].read_until(b"Z")
        after = proxy.ask("SHOW STATS")[0]
        assert after["total_wait_time"] > before["total_wait_time"] and after["avg_wait_time"] > 0, (before, after)
        for client in clients:
            client.close()


# --- the outbox --------------------------------------------------------------------------------------------------


def E8_show_outbox_tells_what_stands_in_it_and_which_database_cannot_be_asked(server):
    nobody = free_port()
    with Outbox(server) as outbox:
        blocks = f"""
admin_users = {{"postgres"}}
channel "jobs" {{ sink = {{"hook"}}  delivery = outbox  forward = off }}
sink "hook" {{ type = webhook  url = "http://127.0.0.1:{nobody}/"  retry {{ first = 1h  max = 1h }} }}
outbox "{outbox.name}" {{ upstream = "{outbox.conninfo} dbname={outbox.name} user=postgres"  poll = 100ms }}
outbox "gone" {{ upstream = "host=127.0.0.1 port={nobody} dbname=gone user=postgres" }}
"""
        with Console(server, blocks) as proxy:
            def lines():
                return {(row["database"], row["channel"], row["state"]): row["events"] for row in proxy.ask("SHOW OUTBOX")}

            assert lines() == {(outbox.name, None, "empty"): 0, ("gone", None, "unknown"): None}
            outbox.insert(3)
            tried = {(outbox.name, "jobs", "retrying"): 1, (outbox.name, "jobs", "in hand"): 2, ("gone", None, "unknown"): None}
            wait_until(lambda: lines() == tried, "the first row to be tried, while the others wait behind it")
            outbox.sql("INSERT INTO pgatomic.outbox (id, channel, payload, leased_until)"
                       " VALUES (gen_random_uuid(), 'of another process', '', now() + interval '1h')")
            outbox.sql("INSERT INTO pgatomic.dead_letter (id, channel, payload) VALUES (gen_random_uuid(), 'jobs', '')")
            assert lines() == {**tried, (outbox.name, "jobs", "dead"): 1, (outbox.name, "of another process", "in hand"): 1}
            rows = proxy.ask("SHOW OUTBOX")
            assert all(row["oldest"] for row in rows if row["database"] == outbox.name), rows
            assert all(row["error"] for row in rows if row["database"] == "gone"), rows
            status, out, _ = proxy.psql("SHOW OUTBOX; SHOW VERSION")
            assert status == 0 and out.count("|") == 5 * 5 and "pgatomic " in out, out


def E8_an_admin_who_goes_while_the_outbox_is_asked_does_no_harm(server):
    with Upstream(lambda wire: wire.take(1 << 20)) as silent:
        blocks = f"""
admin_users = {{"postgres"}}
outbox "silent" {{ upstream = "host=127.0.0.1 port={silent.port} dbname=silent user=postgres sslmode=disable" }}
"""
        with Console(server, blocks) as proxy:
            with proxy.connect_console() as client:
                client.send(query("SHOW OUTBOX"))
                wait_until(lambda: len(silent.connections) >= 2, "the relay and the census to connect")
            wait_until(lambda: [row["state"] for row in proxy.ask("SHOW CLIENTS")] == ["admin"], "the admin to be gone")
            assert proxy.psql("SHOW VERSION")[0] == 0
