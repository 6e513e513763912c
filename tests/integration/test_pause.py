"""PAUSE and RESUME: what they hold back, for how long, and what becomes of an order that is not carried out."""

import contextlib

from proxy import wait_until
from test_admin import BLOCKS, Console
from test_http import fetch, metrics, value
from wire import fields, query, startup


def blocks_of(server, drain_timeout="30s", **options):
    words = {"pool": "transaction", "pool_size": 2, **options}
    return (f'drain_timeout = {drain_timeout}\nauth {{ method = trust }}\nadmin_users = {{"postgres"}}\n'
            f'database "*" {{ upstream = "host={server.directory} port={server.port}"  '
            + "  ".join(f"{name} = {value}" for name, value in words.items()) + " }\n")


class PausedPools(Console):
    """With pools of two servers, and with what a test needs to know of them."""

    def __init__(self, server, workers=2, http=False, **options):
        super().__init__(server, blocks_of(server, **options), workers=workers, database=False, http=http)

    def paused(self):
        """Names of the databases that have clients and are paused."""
        return {row["database"] for row in self.ask("SHOW POOLS") if row["paused"] == "yes"}

    def waiting(self):
        return sum(row["cl_waiting"] for row in self.ask("SHOW POOLS"))

    def admins(self):
        return [row["id"] for row in self.ask("SHOW CLIENTS") if row["state"] == "admin"]

    @contextlib.contextmanager
    def pausing(self, statement="PAUSE"):
        """A console whose order is under way: yields it, in force and not answered."""
        with self.connect_console() as console:
            before = len(self.log_where(msg="admin command"))
            console.send(query(statement))
            self.wait_for_log(count=before + 1, msg="admin command")
            wait_until(lambda: any(row["paused"] for row in self.ask("SHOW DATABASES")), "the order to be in force")
            yield console


def outcome(messages):
    """The tag, or the SQLSTATE."""
    kind, body = messages[0]
    return fields(body)["C"] if kind == b"E" else body[:-1].decode()


# --- what it holds back -------------------------------------------------------------------------------------


def P12_pause_waits_for_transactions_and_resume_goes_on(server):
    with PausedPools(server, http=True) as proxy, proxy.log_in() as busy, proxy.log_in() as other:
        busy.ask("BEGIN")
        with proxy.pausing() as console:
            assert fetch(proxy, "/readyz")[0::2] == (503, "paused\n")
            other.send(query("SELECT 2"))
            wait_until(lambda: proxy.waiting() == 1, "the other one to wait")
            assert proxy.ask("SHOW CLIENTS")[0]["state"] == "active" and busy.value("SELECT 1") == "1", "a transaction goes on"
            assert proxy.ask("SHOW SERVERS") != []
            busy.ask("COMMIT")
            assert outcome(console.read_until(b"Z")) == "PAUSE"
        assert proxy.ask("SHOW SERVERS") == []
        assert value(metrics(proxy), "pgatomic_pool_paused", database="postgres") == 1
        assert proxy.do("RESUME") == "RESUME"
        assert (b"C", b"SELECT 1\0") in other.read_until(b"Z")
        assert fetch(proxy, "/readyz")[0] == 200 and value(metrics(proxy), "pgatomic_pool_paused", database="postgres") == 0


def P12_who_waits_out_a_pause_has_all_of_its_queue_timeout_left_at_its_end(server):
    with PausedPools(server, queue_timeout="10s") as proxy, proxy.log_in() as client, proxy.log_in() as other:
        assert proxy.do("PAUSE") == "PAUSE"
        client.send(query("SELECT 'after'"))

        def longest_wait():
            (pool,) = proxy.ask("SHOW POOLS")
            return pool["maxwait"]

        wait_until(lambda: longest_wait() >= 11, "it to have waited for longer than queue_timeout")
        assert proxy.do("RESUME") == "RESUME"
        assert (b"C", b"SELECT 1\0") in client.read_until(b"Z")
        for each in (client, other):
            each.ask("BEGIN")
        proxy.change_config(blocks_of(server, queue_timeout="300ms"))
        with proxy.log_in() as third:
            assert outcome(third.ask("SELECT 1")) == "53300", "without a pause it counts"


def P12_a_login_that_needs_a_server_waits_for_the_end_of_a_pause_as_long_as_it_takes(server):
    """Who says nothing at all is closed after a minute, and comes later than the login that waits."""
    with PausedPools(server, workers=1) as proxy, proxy.log_in() as known:
        assert proxy.do("PAUSE") == "PAUSE"
        with proxy.connect() as unknown:
            unknown.send(startup(user="postgres", database="postgres", application_name="web-18"))
            wait_until(lambda: proxy.waiting() == 1, "the login to wait for a server")
            with proxy.connect() as silent:
                silent.socket.settimeout(90)
                assert silent.is_closed()
            assert proxy.waiting() == 1
            assert proxy.do("RESUME") == "RESUME"
            assert (b"S", b"application_name\0web-18\0") in unknown.read_until(b"Z")
            assert unknown.value("SELECT 1") == known.value("SELECT 1") == "1"


def P12_a_login_that_goes_while_it_waits_out_a_pause_is_forgotten(server):
    with PausedPools(server) as proxy, proxy.log_in():
        assert proxy.do("PAUSE") == "PAUSE"
        with proxy.connect() as client:
            client.send(startup(user="postgres", database="postgres", application_name="web-19"))
            wait_until(lambda: proxy.waiting() == 1, "the login to wait for a server")
        wait_until(lambda: proxy.waiting() == 0, "it to leave the queue")


def P12_a_server_that_is_in_use_when_a_pause_begins_goes_as_soon_as_it_comes_back(server):
    with PausedPools(server) as proxy, proxy.log_in() as busy:
        busy.ask("BEGIN")
        process_id = busy.value("SELECT pg_backend_pid()")
        with proxy.pausing() as console:
            assert proxy.paused() == {"postgres"}
            assert proxy.ask("SHOW POOLS")[0]["sv_active"] == 1  # every worker has heard of the pause by the time that it answers once more
            assert proxy.do("RESUME") == "RESUME"
            assert outcome(console.read_until(b"Z")) == "57014", "nothing is paused"
        assert busy.value("SELECT pg_backend_pid()") == process_id
        busy.ask("COMMIT")
        assert busy.value("SELECT pg_backend_pid()") != process_id


def P12_there_is_nothing_to_pause_where_every_client_has_its_own_server(server):
    with Console(server) as proxy, proxy.log_in() as client:
        assert proxy.refused("PAUSE")[0] == "55000" and proxy.refused("RECONNECT postgres")[0] == "55000"
        assert client.value("SELECT 1") == "1"


# --- of one database ------------------------------------------------------------------------------------------


def P12_pause_of_one_database_and_what_does_not_exist(server):
    with PausedPools(server, http=True) as proxy, proxy.log_in() as client:
        assert proxy.do("PAUSE elsewhere") == "PAUSE"
        assert client.value("SELECT 1") == "1" and fetch(proxy, "/readyz")[0] == 200, "the others are served"
        assert proxy.do("PAUSE postgres") == "PAUSE" and proxy.paused() == {"postgres"}
        assert fetch(proxy, "/readyz")[0] == 200
        assert proxy.do("RESUME") == "RESUME" and proxy.paused() == set()
        assert client.value("SELECT 1") == "1"
    with Console(server, BLOCKS + f'database "one" {{ upstream = "host=127.0.0.1 port={server.port}" }}\n', database=False) as proxy:
        assert proxy.refused("PAUSE two") == ("3D000", "no database block matches that name")


def P12_show_databases_tells_which_blocks_have_a_database_that_is_paused(server):
    with PausedPools(server) as proxy:
        proxy.reload(proxy.blocks + f'database "shop" {{ upstream = "host={server.directory} port={server.port}"  pool = session }}\n'
                     f'database "own" {{ upstream = "host={server.directory} port={server.port}"  pool = dedicated }}\n')
        proxy.wait_for_log(msg="config reloaded")

        def paused():
            return {row["name"] for row in proxy.ask("SHOW DATABASES") if row["paused"] == 1}

        assert paused() == set()
        for order, want in (("PAUSE shop", {"shop"}), ("PAUSE postgres", {"shop", "*"}), ("RESUME shop", {"*"}), ("RESUME postgres", set()),
                            ("PAUSE", {"shop", "*"}), ("RESUME", set())):
            assert proxy.do(order) == order.split()[0] and paused() == want, order


def P12_resume_of_what_is_not_paused_is_an_error(server):
    with PausedPools(server) as proxy, proxy.log_in() as client:
        for order in ("RESUME", "RESUME postgres"):
            assert proxy.refused(order) == ("55000", "nothing of that is paused"), order
        assert proxy.do("PAUSE") == "PAUSE"
        sqlstate, words = proxy.refused("RESUME postgres")
        assert sqlstate == "55000" and "with all others" in words, (sqlstate, words)
        assert proxy.paused() == {"postgres"}
        assert proxy.do("PAUSE") == "PAUSE", "once more is no harm"
        assert proxy.do("RESUME") == "RESUME" and client.value("SELECT 1") == "1"
        assert proxy.refused("RESUME")[0] == "55000"


def P12_what_is_paused_can_be_resumed_after_its_block_was_taken_out(server):
    with PausedPools(server) as proxy, proxy.log_in() as client:
        assert proxy.do("PAUSE postgres") == "PAUSE"
        proxy.reload(proxy.blocks.replace('database "*"', 'database "other"'))
        proxy.wait_for_log(msg="config reloaded")
        client.send(query("SELECT 1"))
        assert proxy.do("RESUME postgres") == "RESUME"
        assert (b"C", b"SELECT 1\0") in client.read_until(b"Z")


# --- orders that are not carried out ---------------------------------------------------------------------------------


def P12_pause_gives_up_after_drain_timeout_and_then_nothing_is_paused(server):
    with PausedPools(server, drain_timeout="300ms") as proxy, proxy.log_in() as busy:
        busy.ask("BEGIN")
        sqlstate, words = proxy.refused("PAUSE")
        assert sqlstate == "55006" and "taken back" in words, (sqlstate, words)
        assert proxy.paused() == set() and busy.value("SELECT 1") == "1"
        with proxy.log_in() as other:
            assert other.value("SELECT 2") == "2"
        busy.ask("COMMIT")
        proxy.change_config(blocks_of(server))
        assert proxy.do("PAUSE") == "PAUSE" and proxy.paused() == {"postgres"}


def P12_a_client_that_keeps_its_server_while_it_is_idle_makes_a_pause_fail(server):
    for options, statement in (({"pool": "session"}, "SELECT 1"), ({}, "CREATE TEMP TABLE kept (n int)")):
        with PausedPools(server, drain_timeout="300ms", **options) as proxy:
            with proxy.log_in() as client:
                client.ask(statement)
                assert proxy.refused("PAUSE")[0] == "55006", options
            assert wait_until(lambda: proxy.ask("SHOW POOLS")[0]["sv_active"] == 0, "the client to be gone")
            proxy.change_config(blocks_of(server, **options))
            assert proxy.do("PAUSE") == "PAUSE"


def P12_a_pause_that_fails_leaves_alone_what_others_have_paused(server):
    with PausedPools(server) as proxy, proxy.log_in() as idle, proxy.log_in(database="template1") as busy:
        idle.ask("SELECT 1")
        busy.ask("BEGIN")
        assert proxy.do("PAUSE postgres") == "PAUSE"
        proxy.change_config(blocks_of(server, drain_timeout="300ms"))
        assert proxy.refused("PAUSE")[0] == "55006"
        assert proxy.paused() == {"postgres"}
        busy.ask("COMMIT")


def P12_of_two_pauses_under_way_the_one_that_fails_does_not_end_the_other(server):
    with PausedPools(server, drain_timeout="5s") as proxy, proxy.log_in() as busy:
        busy.ask("BEGIN")
        with proxy.pausing() as first:
            proxy.change_config(blocks_of(server, drain_timeout="1min"))
            with proxy.pausing("PAUSE postgres") as second:
                assert outcome(first.read_until(b"Z")) == "55006"
                assert proxy.paused() == {"postgres"}
                busy.ask("COMMIT")
                assert outcome(second.read_until(b"Z")) == "PAUSE"
        assert proxy.paused() == {"postgres"} and proxy.ask("SHOW SERVERS") == []


def P12_an_admin_who_goes_before_the_pause_has_come_true_takes_it_along(server):
    with PausedPools(server) as proxy, proxy.log_in() as busy, proxy.log_in() as other:
        busy.ask("BEGIN")
        for leave in (lambda console: console.close(), lambda console: (console.send(b"X\0\0\0\4"), console.close())):
            with proxy.pausing() as console:
                assert proxy.paused() == {"postgres"}
                leave(console)
                wait_until(lambda: proxy.paused() == set(), "the pause to be over")
                assert other.value("SELECT 1") == "1"
        with proxy.pausing() as console:
            admins = wait_until(lambda: proxy.admins() if len(proxy.admins()) == 2 else None, "this admin and the one who asks to be alone")
            number = admins[0]
            assert proxy.do(f"KILL {number}") == "KILL"
            assert proxy.paused() == set() and outcome(console.read_until(b"E")) == "57P01"
        busy.ask("COMMIT")
        assert proxy.do("PAUSE") == "PAUSE"
        assert proxy.paused() == {"postgres"}, "one that has come true stays, though the admin goes"
