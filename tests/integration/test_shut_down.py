"""A client that is ended from outside while its COMMIT is out: it hears how that has ended, and then that it is ended (R12). A COMMIT takes as long as a
deferred trigger waits for a lock of the test's."""

import contextlib
import signal
import struct

import psycopg
from proxy import wait_until
from test_admin import Console
from test_doubt import extended
from test_pool_reload import unread
from test_process import ended
from wire import fields, message, query

# Triggers fire in the order of their names: this one ahead of a constraint's.
SCHEMA = """
CREATE TABLE t (id int);
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER "A" AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait();
"""
POOLS = ("dedicated", "transaction", "session")
# How a transaction begins, and how it ends.
TRANSACTIONS = (("BEGIN", "COMMIT"), ("SET pgatomic.request = '/x'", "SET pgatomic.outcome = 'commit'"))


class Ended(Console):
    def __init__(self, server, pool, size=2, blocks=""):
        size = "" if pool == "dedicated" else f"pool_size = {size}"
        super().__init__(server, blocks + 'auth { method = trust }\nadmin_users = {"postgres"}\nroute "marked" { match = "/*"  mode = atomic }\n'
                         f'database "*" {{ pool = {pool}  {size}  upstream = "host={server.directory} port={server.port}" }}\n',
                         database=False)

    def kill(self, name):
        number = next(row["id"] for row in self.ask("SHOW CLIENTS") if row["database"] == name)
        assert self.do(f"KILL {number}") == "KILL"


@contextlib.contextmanager
def committing(server, proxy, name, begin, end):
    """A client whose COMMIT is out, and the connection whose lock holds that up."""
    host = {"host": server.directory, "port": server.port, "user": "postgres", "dbname": name}
    with psycopg.connect(autocommit=True, **host) as holder, proxy.log_in(database=name) as client:
        holder.execute("SELECT pg_advisory_lock(7)")
        client.ask(begin)
        client.ask("INSERT INTO t VALUES (1)")
        client.send(end)
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        wait_until(lambda: holder.execute(waiting).fetchall(), "the COMMIT to be under way")
        yield client, holder


def codes(messages):
    """Tags, SQLSTATEs and the status, in their order."""
    words = {b"C": lambda body: body[:-1].decode(), b"E": lambda body: fields(body)["V"] + " " + fields(body)["C"],
             b"Z": lambda body: body.decode()}
    return [words[kind](body) for kind, body in messages if kind in words]


def rows(server, name):
    return len(server.sql("SELECT 1 FROM t", database=name))


def R12_a_client_that_is_killed_during_its_commit_hears_how_that_has_ended(server):
    server.create_database("killed_commit", SCHEMA)
    count = 0
    for pool in POOLS:
        with Ended(server, pool) as proxy:
            for begin, end in TRANSACTIONS:
                for message in (query(end), extended(end)):
                    with committing(server, proxy, "killed_commit", begin, message) as (client, holder):
                        proxy.kill("killed_commit")
                        holder.execute("SELECT pg_advisory_unlock(7)")
                        assert codes(client.read_to_end()) == [end.split()[0], "I", "FATAL 57P01"], (pool, end)
                    count += 1
                    assert rows(server, "killed_commit") == count


def R12_a_client_that_is_killed_during_a_commit_that_fails_hears_that(server):
    server.create_database("killed_failing", SCHEMA + "ALTER TABLE t ADD UNIQUE (id) DEFERRABLE INITIALLY DEFERRED; "
                           "INSERT INTO t VALUES (1);")
    for pool in POOLS:
        with Ended(server, pool) as proxy:
            for begin, end in TRANSACTIONS:
                with committing(server, proxy, "killed_failing", begin, extended(end)) as (client, holder):
                    proxy.kill("killed_failing")
                    holder.execute("SELECT pg_advisory_unlock(7)")
                    assert codes(client.read_to_end()) == ["ERROR 23505", "I", "FATAL 57P01"], (pool, end)
    assert rows(server, "killed_failing") == 1


def R12_a_client_killed_during_a_commit_that_takes_too_long_hears_that_nobody_knows(server):
    server.create_database("killed_late", SCHEMA)
    for count, pool in enumerate(POOLS):
        with Ended(server, pool) as proxy:
            with committing(server, proxy, "killed_late", *TRANSACTIONS[1][:1], query(TRANSACTIONS[1][1])) as (client, holder):
                proxy.kill("killed_late")
                kind, body = client.read()
                assert kind == b"E" and fields(body)["C"] == "08007" and "not known" in fields(body)["D"]
                assert client.read_to_end() == []  # a driver listens until then
                holder.execute("SELECT pg_advisory_unlock(7)")
                wait_until(lambda: rows(server, "killed_late") == count + 1, "the COMMIT to end")  # pylint: disable=cell-var-from-loop
                proxy.wait_for_log(msg="request_committed")


def R12_a_client_killed_during_its_commit_may_end_the_message_that_it_is_sending(server):
    server.create_database("killed_inside", SCHEMA)
    bind = message(b"P", b"\0SELECT $1\0\0\0") + message(b"B", b"\0\0\0\0\0\1" + struct.pack("!i", 200000) + b"x" * 200000 + b"\0\0")
    for count, pool in enumerate(POOLS):
        with Ended(server, pool) as proxy:
            commit = extended("COMMIT")[:-5]  # without its Sync
            with committing(server, proxy, "killed_inside", "BEGIN", commit + bind[:100000]) as (client, holder):
                wait_until(lambda: unread(proxy.port) == 0, "all of that to be read")  # pylint: disable=cell-var-from-loop
                proxy.kill("killed_inside")
                holder.execute("SELECT pg_advisory_unlock(7)")
                client.send(bind[100000:] + query("SELECT 1"))
                assert codes(client.read_to_end()) == ["COMMIT", "FATAL 57P01"], pool
            with committing(server, proxy, "killed_inside", "BEGIN", commit + bind[:100000]) as (client, holder):
                wait_until(lambda: unread(proxy.port) == 0, "all of that to be read")  # pylint: disable=cell-var-from-loop
                proxy.kill("killed_inside")
                holder.execute("SELECT pg_advisory_unlock(7)")
                heard = codes(client.read_to_end())
                assert heard == ["FATAL 08007"], (pool, heard)
                backends = "SELECT 1 FROM pg_stat_activity WHERE datname = 'killed_inside' AND state = 'active' AND pid <> pg_backend_pid()"
                wait_until(lambda: not holder.execute(backends).fetchall(), "the server to be let go")  # pylint: disable=cell-var-from-loop
        assert rows(server, "killed_inside") == 2 * count + 2


def R12_a_client_that_is_killed_during_its_commit_and_does_not_listen_holds_up_nothing(server):
    server.create_database("killed_deaf", SCHEMA)
    for count, pool in enumerate(POOLS):
        with Ended(server, pool) as proxy, proxy.connect(receive_buffer=4096).log_in(database="killed_deaf") as client:
            client.ask("BEGIN")
            client.ask("INSERT INTO t VALUES (1)")
            client.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 50000)") + query("COMMIT"))
            wait_until(lambda: server.sql("SELECT 1 FROM pg_stat_activity WHERE datname = 'killed_deaf' AND wait_event = 'ClientWrite'"),
                       "the client to be behind")
            proxy.kill("killed_deaf")
            wait_until(lambda: rows(server, "killed_deaf") == count + 1, "the COMMIT to end")  # pylint: disable=cell-var-from-loop


def R12_who_stops_the_process_does_not_lie_about_a_commit(server):
    server.create_database("stopped_commit", SCHEMA)
    for count, pool in enumerate(POOLS):
        with Ended(server, pool) as proxy:
            begin, end = TRANSACTIONS[count % 2]
            with committing(server, proxy, "stopped_commit", begin, query(end)) as (client, holder):
                proxy.process.send_signal(signal.SIGINT)
                proxy.wait_for_log(msg="stopping")
                holder.execute("SELECT pg_advisory_unlock(7)")
                assert codes(client.read_to_end()) == [end.split()[0], "I", "FATAL 57P01"], pool
            assert ended(proxy) == 0
        assert rows(server, "stopped_commit") == count + 1


def R12_a_commit_that_outlasts_drain_timeout_is_told_of(server):
    server.create_database("drained_commit", SCHEMA)
    for count, pool in enumerate(POOLS):
        with Ended(server, pool, blocks="drain_timeout = 100ms\n") as proxy, proxy.log_in() as idle:
            begin, end = TRANSACTIONS[count % 2]
            with committing(server, proxy, "drained_commit", begin, extended(end)) as (client, holder):
                idle.ask("BEGIN")
                proxy.process.send_signal(signal.SIGTERM)
                assert idle.fatal()["C"] == "57P01"  # drain_timeout has passed
                holder.execute("SELECT pg_advisory_unlock(7)")
                assert codes(client.read_to_end()) == [end.split()[0], "I", "FATAL 57P01"], pool
            assert ended(proxy) == 0
        assert rows(server, "drained_commit") == count + 1


def P3_a_client_that_is_killed_while_its_commit_waits_for_a_server_is_rolled_back(server):
    """Its COMMIT has rows of the outbox to write, and is the first that a server would hear of the request."""
    server.create_database("killed_waiting")
    upstream = f"host={server.directory} port={server.port} dbname=killed_waiting user=postgres"
    blocks = (f'outbox "killed_waiting" {{ upstream = "{upstream}" }}\nsink "listeners" {{ type = log }}\n'
              'channel "jobs" { sink = {"listeners"}  delivery = outbox  forward = off }\n')
    with Ended(server, "transaction", size=1, blocks=blocks) as proxy:
        assert proxy.run("outbox", "install", upstream)[0] == 0
        with proxy.log_in(database="killed_waiting") as client:
            client.ask("SET pgatomic.request = '/x'")
            client.ask("NOTIFY jobs, 'one'")
            with proxy.log_in(database="killed_waiting") as other:
                other.ask("BEGIN")
                client.send(query("SET pgatomic.outcome = 'commit'"))
                wait_until(lambda: any(row["cl_waiting"] for row in proxy.ask("SHOW POOLS")), "the COMMIT to wait")
                number = next(row["id"] for row in proxy.ask("SHOW CLIENTS") if row["state"] == "waiting")
                assert proxy.do(f"KILL {number}") == "KILL"
                assert codes(client.read_to_end()) == ["ERROR 57P01", "I", "FATAL 57P01"]
        proxy.wait_for_log(msg="request_rolled_back", reason="error")
        proxy.wait_for_log(msg="event_discarded", reason="error")
    assert server.sql("SELECT 1 FROM pgatomic.outbox", database="killed_waiting") == []
