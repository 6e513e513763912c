"""What the console and the metrics count, figure by figure: each is compared with what was done, or with what PostgreSQL says."""

import datetime
import subprocess
import threading

from proxy import free_port, wait_until
from receiver import Receiver
from test_admin import Console
from test_http import metrics, value
from wire import Upstream, fields, query, read_startup, startup

ADMIN = 'admin_users = {"postgres"}\n'
TRUST = "auth { method = trust }\n"


def time_of(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def pool_block(upstream, **options):
    words = {"pool": "transaction", "pool_size": 2, **options}
    return f'database "*" {{ upstream = "{upstream}"  ' + "  ".join(f"{name} = {value}" for name, value in words.items()) + " }\n"


def the_one(rows, **what):
    """The row in which these columns have these values."""
    (found,) = [row for row in rows if what.items() <= row.items()]
    return found


# --- requests and events ----------------------------------------------------------------------------------------


def E3_requests_and_their_routes_are_told_figure_by_figure(server):
    blocks = ADMIN + 'route "checkout" { match = "/checkout/*"  mode = atomic }\nchannel "*" { sink = {"story"} }\nsink "story" { type = log }\n'
    with Console(server, blocks, http=True) as proxy, proxy.log_in() as client:
        before = now()
        client.ask("SET pgatomic.request = '/checkout/1'")
        client.ask("SELECT pg_sleep(0.2)")
        client.ask(f"NOTIFY mail, '{'x' * 1000}'")
        (request,) = proxy.ask("SHOW REQUESTS")
        passed = now() - before
        assert 200 <= request["age_ms"] <= passed.total_seconds() * 1000 + 1, request
        assert before - datetime.timedelta(seconds=1) <= time_of(request["begun"]) <= now(), request
        assert proxy.ask("SHOW EVENTS")[0]["bytes"] == 1000
        client.ask("SET pgatomic.outcome = 'commit'")
        (route,) = proxy.ask("SHOW ROUTES")
        assert (route["match"], route["statements"], route["events"]) == ("/checkout/*", 2, 1), route
        assert route["avg_us"] >= 200_000, route
        found = metrics(proxy)
        assert value(found, "pgatomic_request_statements_total", route="checkout") == 2
        assert round(value(found, "pgatomic_request_duration_seconds_sum", route="checkout") * 1e6) == route["avg_us"], "there was one"
        assert proxy.ask("SHOW CHANNELS")[0]["delivery"] == "memory"


def E3_what_waits_for_a_sink_and_how_long_it_took_is_told(server):
    answer = threading.Event()
    with Receiver(lambda post: 200 if answer.wait(30) else 500) as receiver:
        blocks = ADMIN + f'channel "*" {{ sink = {{"hook"}} }}\nsink "hook" {{ type = webhook  url = "{receiver.url}" }}\n'
        with Console(server, blocks, http=True) as proxy, proxy.log_in() as client:
            client.ask(f"NOTIFY mail, '{'x' * 1000}'")
            (sink,) = proxy.ask("SHOW SINKS")
            assert (sink["queued"], sink["delivered"], sink["avg_latency_us"]) == (1, 0, 0) and sink["queued_bytes"] >= 1000, sink
            found = metrics(proxy)
            assert value(found, "pgatomic_sink_queue_bytes", sink="hook") == sink["queued_bytes"]
            assert value(found, "pgatomic_sink_delivery_seconds_total", sink="hook") == 0
            answer.set()
            sink = wait_until(lambda: proxy.ask("SHOW SINKS")[0]["delivered"] and proxy.ask("SHOW SINKS")[0], "the delivery")
            assert (sink["queued"], sink["queued_bytes"]) == (0, 0) and sink["avg_latency_us"] > 0, sink
            found = metrics(proxy)
            assert value(found, "pgatomic_sink_queue_bytes", sink="hook") == 0
            seconds = value(found, "pgatomic_sink_delivery_seconds_total", sink="hook")
            assert round(seconds * 1e6) == sink["avg_latency_us"], "there was one"


# --- clients, servers, pools ------------------------------------------------------------------------------------------


def P3_waits_timeouts_and_connects_of_a_pool_are_counted(server):
    upstream = f"host={server.directory} port={server.port}"
    with Console(server, ADMIN + TRUST + pool_block(upstream), workers=2, database=False, http=True) as proxy:
        clients = [proxy.log_in() for _ in range(3)]
        for client in clients[:2]:
            client.ask("BEGIN")
        proxy.change_config(ADMIN + TRUST + pool_block(upstream, queue_timeout="200ms"))
        before = proxy.ask("SHOW POOLS")[0]
        assert (before["timeouts"], before["connects"]) == (0, 2), before
        kind, body = clients[2].ask("SELECT 1")[0]
        assert kind == b"E" and fields(body)["C"] == "53300"
        after = proxy.ask("SHOW POOLS")[0]
        assert (after["timeouts"], after["waits"], after["connects"]) == (1, before["waits"] + 1, 2), after
        found = metrics(proxy)
        for name, column in (("wait_timeouts", "timeouts"), ("waits", "waits"), ("server_connects", "connects")):
            assert value(found, f"pgatomic_{name}_total", database="postgres") == after[column], name
        assert value(found, "pgatomic_server_connect_failures_total") == 0
        assert value(found, "pgatomic_client_connections", state="session") == 3
        assert value(found, "pgatomic_client_connections", state="raw") == 0
        clients[0].ask("COMMIT")
        clients[1].ask("COMMIT")
        proxy.change_config(ADMIN + TRUST + pool_block(f"host=127.0.0.1 port={free_port()}"))
        wait_until(lambda: clients[0].ask("SELECT 1")[0][0] == b"E", "no server to be had")
        found = metrics(proxy)
        failures = value(found, "pgatomic_server_connect_failures_total", database="postgres")
        assert failures >= 1 and value(found, "pgatomic_server_connects_total", database="postgres") == 2 + failures
        for client in clients:
            client.close()


def P3_who_waits_longer_than_queue_timeout_is_in_the_log_and_of_many_one_with_the_number_of_the_others(server):
    upstream = f"host={server.directory} port={server.port}"
    late = {"level": "warn", "msg": "a client has waited for a server longer than queue_timeout"}
    with Console(server, ADMIN + TRUST + pool_block(upstream, pool_size=1), database=False, http=True) as proxy:
        holder, *others = [proxy.log_in() for _ in range(4)]
        holder.ask("BEGIN")
        proxy.change_config(ADMIN + TRUST + pool_block(upstream, pool_size=1, queue_timeout="200ms"))
        for client in others:
            client.send(query("SELECT 1"))
        assert [fields(client.read_until(b"Z")[0][1])["C"] for client in others] == ["53300"] * 3
        (line,) = proxy.wait_for_log(**late)
        assert (line["database"], line["user"], line["others"]) == ("postgres", "postgres", 0), line
        ports = [client.socket.getsockname()[1] for client in others]
        assert int(line["client"].rpartition(":")[2]) in ports and line["waited_ms"] >= 200, line

        def count_once_more():
            assert others[0].ask("SELECT 1")[0][0] == b"E"
            timeouts = value(metrics(proxy), "pgatomic_wait_timeouts_total", database="postgres")
            return timeouts if len(proxy.log_where(**late)) == 2 else 0

        timeouts = wait_until(count_once_more, "the next line")
        assert proxy.log_where(**late)[1]["others"] == timeouts - 2, "all but the two that were told"
        for client in (holder, *others):
            client.close()


def P3_a_database_that_does_not_exist_leaves_nothing_in_the_metrics(server):
    upstream = f"host={server.directory} port={server.port}"
    with Console(server, ADMIN + TRUST + pool_block(upstream), database=False, http=True) as proxy, proxy.log_in() as client:
        with proxy.connect() as stranger:
            stranger.send(startup(user="postgres", database="nobodys"))
            assert stranger.fatal()["C"] == "3D000"
        assert client.value("SELECT 1") == "1"

        def named():
            return {labels["database"] for samples in metrics(proxy).values() for labels, _ in samples if "database" in labels}

        wait_until(lambda: named() == {"postgres"}, "the pool to go")
        with proxy.log_in(database="template1") as other:
            assert other.value("SELECT 1") == "1"
        assert named() == {"postgres", "template1"}


def P3_a_server_that_is_logged_into_is_told_as_such(server):
    silent = threading.Event()

    def behave(wire):
        read_startup(wire)
        silent.wait(30)

    with Upstream(behave) as upstream:
        blocks = ADMIN + TRUST + pool_block(f"host=127.0.0.1 port={upstream.port} sslmode=disable")
        with Console(server, blocks, database=False, http=True) as proxy, proxy.connect() as client:
            client.send(startup(user="postgres", database="postgres"))
            wait_until(lambda: len(upstream.connections) == 1, "the upstream to be called")
            (pool,) = proxy.ask("SHOW POOLS")
            assert (pool["sv_login"], pool["sv_active"], pool["sv_idle"], pool["sv_used"], pool["cl_waiting"]) == (1, 0, 0, 0, 1), pool
            (row,) = proxy.ask("SHOW SERVERS")
            assert (row["state"], row["addr"], row["port"], row["client_id"]) == ("connecting", "127.0.0.1", upstream.port, None), row
            assert value(metrics(proxy), "pgatomic_servers", state="connecting") == 1
            silent.set()


def P3_servers_are_known_by_their_process_ids_and_since_when_they_are_there(server):
    upstream = f"host={server.directory} port={server.port}"
    with Console(server, ADMIN + TRUST + pool_block(upstream), database=False) as proxy, proxy.log_in() as one, proxy.log_in() as other:
        pids = {}
        for client in (one, other):
            client.ask("BEGIN")
            pids[client] = int(client.value("SELECT pg_backend_pid()"))
        ids = {row["port"]: row["id"] for row in proxy.ask("SHOW CLIENTS") if row["state"] == "active"}
        servers = proxy.ask("SHOW SERVERS")
        for client in (one, other):
            row = the_one(servers, remote_pid=pids[client])
            assert row["client_id"] == ids[client.socket.getsockname()[1]], row
            (begun,) = server.sql(f"SELECT extract(epoch FROM backend_start) FROM pg_stat_activity WHERE pid = {pids[client]}")
            assert abs(time_of(row["connect_time"]).timestamp() - float(begun[0])) < 60, (row, begun)


def shell_bytes_are_counted_one_by_one(server):
    with Console(server, ADMIN, http=True) as proxy, proxy.log_in() as client:
        def seen():
            row = the_one(proxy.ask("SHOW CLIENTS"), user="postgres", state="idle")
            assert abs((now() - time_of(row["connect_time"])).total_seconds()) < 300
            stats = the_one(proxy.ask("SHOW STATS"), database="postgres")
            found = metrics(proxy)
            assert value(found, "pgatomic_received_bytes_total", database="postgres") == stats["total_received"]
            assert value(found, "pgatomic_sent_bytes_total", database="postgres") == stats["total_sent"]
            return [row["received"], row["sent"], stats["total_received"], stats["total_sent"]]

        before = seen()
        asked = query("SELECT repeat('x', 5000)")
        client.send(asked)
        said = sum(5 + len(body) for _, body in client.read_until(b"Z"))
        assert [after - then for then, after in zip(before, seen())] == [len(asked), said, len(asked), said]


def shell_averages_are_totals_by_the_second(server):
    with Console(server, ADMIN) as proxy, proxy.log_in() as client:
        for _ in range(200):
            client.ask("SELECT repeat('x', 1000)")
        stats = the_one(proxy.ask("SHOW STATS"), database="postgres")
        averages = the_one(proxy.ask("SHOW STATS_AVERAGES"), database="postgres")
        totals = the_one(proxy.ask("SHOW STATS_TOTALS"), database="postgres")
        assert {**averages, **totals}.keys() == stats.keys()
        for average, total in (("avg_xact_count", "total_xact_count"), ("avg_query_count", "total_query_count"), ("avg_recv", "total_received"),
                               ("avg_sent", "total_sent")):
            assert 0 < averages[average] and stats[average] * 3600 > stats[total], (average, stats)
        assert stats["avg_sent"] > 1000 * stats["avg_query_count"] > 10 * stats["avg_recv"], stats


def shell_the_config_of_a_database_is_told(server):
    upstream = f"host={server.directory} port={server.port} dbname=postgres user=postgres"
    with Console(server, ADMIN + TRUST + pool_block(upstream, min_size=1), database=False, http=True) as proxy:
        (row,) = proxy.ask("SHOW DATABASES")
        assert (row["database"], row["force_user"], row["min_pool_size"], row["pool_size"]) == ("postgres", "postgres", 1, 2), row
        version = subprocess.run([proxy.binary, "--version"], stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout.split()
        ((labels, one),) = metrics(proxy)["pgatomic_info"]
        assert one == 1 and labels["version"] in version, (labels, version)
        assert all(row["what_it_does"] for row in proxy.ask("SHOW HELP"))
