"""Whose turn it is in a pool (P3), and for how long: atomic requests (R1), time limits (R12), commits (P8); options that are off; reloads."""

import psycopg

from proxy import Proxy, wait_until
from test_http import metrics, value
from test_pool import TRUST, backends, database
from wire import fields, query, startup


def waiting(proxy):
    return value(metrics(proxy), "pgatomic_clients_waiting", database="postgres")


def wait_until_waiting(proxy, count):
    wait_until(lambda: waiting(proxy) == count, f"{count} clients to wait")


def with_pool(server, more="", workers=1, **options):
    """With HTTP, which tells who waits."""
    return Proxy(server, TRUST + database(server, **{"pool_size": 1, **options}) + more, workers=workers, database=False, http=True)


def codes(messages):
    return [fields(body)["C"] for kind, body in messages if kind == b"E"]


def first_value(messages):
    return next(body[6:].decode() for kind, body in messages if kind == b"D")


# --- who is next ----------------------------------------------------------------------------------------------


def P3_who_waits_longest_is_served_first_over_all_workers(server):
    server.sql("CREATE SEQUENCE turn")
    with with_pool(server, workers=3) as proxy:
        holder, clients = proxy.log_in(), [proxy.log_in() for _ in range(9)]
        holder.ask("BEGIN")
        for number, client in enumerate(clients):
            client.send(query("SELECT nextval('turn')"))
            wait_until_waiting(proxy, number + 1)
        holder.ask("COMMIT")
        assert [first_value(client.read_until(b"Z")) for client in clients] == [str(turn) for turn in range(1, 10)]
    server.sql("DROP SEQUENCE turn")


def R1_a_mark_holds_no_server_and_a_request_holds_it_to_its_outcome(server):
    with with_pool(server, 'route "marked" { match = "/*"  mode = atomic }\n') as proxy:
        marked, other = proxy.log_in(), proxy.log_in()
        marked.ask("SET pgatomic.request = '/x'")
        assert other.value("SELECT 'behind the mark'") == "behind the mark"
        backend = marked.value("SELECT pg_backend_pid()")
        other.send(query("SELECT pg_backend_pid()"))
        wait_until_waiting(proxy, 1)
        assert marked.value("SELECT pg_backend_pid()") == backend and waiting(proxy) == 1
        marked.ask("SET pgatomic.outcome = 'commit'")
        assert first_value(other.read_until(b"Z")) == backend
        proxy.wait_for_log(msg="request_committed", label="/x")


# --- limits, and none -------------------------------------------------------------------------------------------


def R12_a_limit_ends_a_wait_for_a_server_and_a_statement_of_a_pool(server):
    """The connection stays, and so does the server for whoever comes next."""
    route = 'route "limited" { application = "limited"  mode = atomic  end = commit  timeout = 300ms }\n'
    for pool in ("transaction", "session"):
        with with_pool(server, route, pool=pool, pool_size=2 if pool == "session" else 1) as proxy:
            limited, other = proxy.log_in(application_name="limited"), proxy.log_in()
            if pool == "transaction":
                other.ask("BEGIN")
                said = limited.ask("SELECT 'in the queue'")
                assert codes(said) == ["25P04"], said
                proxy.wait_for_log(msg="request_rolled_back", reason="timeout")
                other.ask("COMMIT")
                limited.ask("ROLLBACK")
            assert codes(limited.ask("SELECT pg_sleep(600)")) == ["25P04"]
            proxy.wait_for_log(2 if pool == "transaction" else 1, msg="request_rolled_back", reason="timeout")
            limited.ask("ROLLBACK")
            proxy.change_config(proxy.blocks.replace(route, ""))
            assert other.value("SELECT 1") == "1" and limited.value("SELECT 2") == "2"


def named(server, name, **options):
    return database(server, **options).replace('database "*"', f'database "{name}"')


def P3_times_that_are_zero_are_off(server):
    """A second pool, whose server goes as soon as it is looked at, shows that both have been."""
    server.create_database("turns_clock")
    off = {"pool_size": 1, "queue_timeout": "0s", "server_idle_timeout": "0s", "server_lifetime": "0s"}
    blocks = TRUST + named(server, "postgres", **off) + named(server, "turns_clock", server_idle_timeout="1ms")
    with Proxy(server, blocks, database=False, http=True) as proxy:
        first, second, clock = proxy.log_in(), proxy.log_in(), proxy.log_in(database="turns_clock")

        def let_time_pass():
            for _ in range(2):
                clock.ask("SELECT 1")
                wait_until(lambda: not backends(server, "turns_clock"), "an idle server to go")

        backend = first.value("SELECT pg_backend_pid()")
        let_time_pass()
        assert second.value("SELECT pg_backend_pid()") == backend
        first.ask("BEGIN")
        second.send(query("SELECT 'served'"))
        wait_until_waiting(proxy, 1)
        let_time_pass()
        assert waiting(proxy) == 1
        first.ask("COMMIT")
        assert first_value(second.read_until(b"Z")) == "served"


# --- reloads ----------------------------------------------------------------------------------------------------


def refused(proxy, name="postgres"):
    with proxy.connect() as client:
        client.send(startup(user="postgres", database=name))
        return client.fatal()["C"]


def P2_the_limits_of_a_reload_hold_for_who_comes_then(server):
    def blocks(clients):
        return TRUST + database(server) + f"limits {{ clients = {clients} }}\n"

    with Proxy(server, blocks(2), database=False) as proxy:
        clients = [proxy.log_in() for _ in range(2)]
        assert refused(proxy) == "53300"
        proxy.change_config(blocks(3))
        clients.append(proxy.log_in())
        proxy.change_config(blocks(1))
        assert refused(proxy) == "53300"
        assert [client.value("SELECT 1") for client in clients] == ["1"] * 3


def P3_a_block_that_a_reload_takes_out_goes_on_for_who_is_connected(server):
    server.create_database("turns_out")
    with Proxy(server, TRUST + named(server, "turns_out") + named(server, "postgres"), database=False) as proxy:
        client = proxy.log_in(database="turns_out")
        proxy.change_config(TRUST + named(server, "postgres"))
        assert client.value("SELECT current_database()") == "turns_out"
        assert refused(proxy, "turns_out") == "3D000"
        assert client.value("SELECT 1") == "1"


# --- the end of a client ------------------------------------------------------------------------------------------

DEFERRED = """
CREATE TABLE kept (value int);
CREATE FUNCTION wait_for_lock() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON kept DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_for_lock();
"""


def P8_the_COMMIT_of_a_client_that_is_gone_is_not_cancelled(server):
    """It waits for a lock. What a client leaves behind that goes later, and runs a statement, is cancelled: so would the COMMIT have been."""
    name = "turns_commit"
    server.create_database(name, DEFERRED)
    running = f"SELECT query FROM pg_stat_activity WHERE datname = '{name}' AND wait_event = 'advisory' ORDER BY query"
    commit, lock = ["COMMIT"], ["SELECT pg_advisory_lock(77)"]
    with psycopg.connect(host=server.directory, port=server.port, user="postgres", dbname=name, autocommit=True) as holder:
        for number, pool in enumerate(("transaction", "session", "dedicated"), start=1):
            holder.execute("SELECT pg_advisory_lock(77)")
            options = {} if pool == "dedicated" else {"pool_size": 2}
            blocks = TRUST + f'database "*" {{ upstream = "host={server.directory} port={server.port}"  pool = {pool} '
            blocks += "  ".join(f"{option} = {said}" for option, said in options.items()) + " }\n"
            with Proxy(server, blocks, database=False) as proxy:
                gone, later = proxy.log_in(database=name), proxy.log_in(database=name)
                gone.ask("BEGIN")
                gone.ask(f"INSERT INTO kept VALUES ({number})")
                gone.send(query("COMMIT"))
                wait_until(lambda: server.sql(running) == [commit], "the COMMIT to wait")
                gone.reset()
                later.send(query(lock[0]))
                wait_until(lambda: server.sql(running) == [commit, lock], "the statement to wait")
                later.reset()
                wait_until(lambda: server.sql(running) == [commit], "the statement to be cancelled")
                holder.execute("SELECT pg_advisory_unlock(77)")
                wait_until(lambda: server.sql(f"SELECT value FROM kept WHERE value = {number}", name), f"the row of {pool}")
