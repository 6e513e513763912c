"""What drivers and their pools say when a connection comes back: afterwards its server is clean, and free for the next client (P5)."""

import struct

from proxy import Proxy
from wire import SYNC, fields, message, query

POOL = """
auth {{ method = trust }}
database "postgres" {{ upstream = "{upstream}"  control = "{upstream} user=postgres dbname=postgres"  pool = transaction  pool_size = 1 }}
"""
# Each pins the server to its client.
PINNING = ("CREATE TEMP TABLE mine (id int)", "SELECT pg_advisory_lock(42)",
           "DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 10)")
FOLLOWING = ("SET work.who = 'me'", "SET search_path = mine, public", "SET TimeZone = 'Asia/Tokyo'", "LISTEN news",
             "PREPARE mine AS SELECT 'mine'")
LEFT = """
    SELECT current_setting('work.who', true), current_setting('TimeZone'), current_setting('search_path'),
           (SELECT count(*) FROM pg_cursors), (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),
           (SELECT count(*) FROM pg_class WHERE relname = 'mine' AND relpersistence = 't'), (SELECT count(*) FROM pg_listening_channels())
"""
CLEAN = [b"", b"UTC", b'"$user", public', b"0", b"0", b"0", b"0"]
PINNED = "the client keeps its server until it goes or says DISCARD ALL"


def pooled(server):
    upstream = f"host={server.directory} port={server.port}"
    return Proxy(upstream, POOL.format(upstream=upstream), database=False)


def done(reply):
    """The reply, which has no error in it."""
    errors = [fields(body) for kind, body in reply if kind == b"E"]
    assert not errors, errors
    return reply


def columns(reply):
    """Of its only row; NULL is taken for ''."""
    [body] = [body for kind, body in done(reply) if kind == b"D"]
    values, at = [], 2
    while at < len(body):
        size = struct.unpack("!i", body[at : at + 4])[0]
        values.append(body[at + 4 : at + 4 + max(size, 0)])
        at += 4 + max(size, 0)
    return values


def bare_query(text):
    """As drivers send it that prepare nothing: all in one write."""
    return (message(b"P", b"\0" + text.encode() + b"\0\0\0") + message(b"B", b"\0\0\0\0\0\0\0\0") + message(b"E", b"\0\0\0\0\0") + SYNC)


def error_of(reply):
    return [fields(body)["C"] for kind, body in reply if kind == b"E"]


def check_in(server, dirt, say_it, forgets_statements):
    """A client makes its server dirty and gives it back with `say_it`; another one then gets the only server, and finds it clean."""
    with pooled(server) as proxy, proxy.log_in() as one, proxy.log_in() as other:
        for sql in dirt:
            done(one.ask(sql))
        assert bool(proxy.log_where(msg=PINNED)) == bool(set(dirt) & set(PINNING))
        say_it(one)
        assert columns(other.ask(LEFT)) == CLEAN
        done(other.ask("PREPARE mine AS SELECT 'yours'"))
        assert other.value("EXECUTE mine") == "yours"
        assert columns(one.ask(LEFT)) == CLEAN, "nor does it come back to who made it"
        assert error_of(one.ask("EXECUTE mine")) == (["26000"] if forgets_statements else [])


def P5_DISCARD_ALL_in_the_write_of_the_next_statement_frees_what_was_pinned(server):
    """Npgsql says it when a connection is taken out, not when it is put back."""

    def next_use(client):
        client.send(query("DISCARD ALL") + bare_query("SELECT 'first'"))
        done(client.read_until(b"Z"))
        assert columns(client.read_until(b"Z")) == [b"first"]

    check_in(server, PINNING + FOLLOWING, next_use, forgets_statements=True)


def P5_ROLLBACK_and_DISCARD_ALL_free_what_was_pinned(server):
    """Rails' reset!, with a transaction open and failed, and its active? in between."""

    def reset(client):
        done(client.ask("BEGIN"))
        assert error_of(client.ask("SELECT 1 / 0")) == ["22012"]
        done(client.ask("ROLLBACK"))
        done(client.ask("DISCARD ALL"))
        done(client.ask(";"))

    check_in(server, PINNING + FOLLOWING, reset, forgets_statements=True)


def P5_a_reset_that_spares_prepared_statements_leaves_a_clean_server_unpinned(server):
    """Npgsql's, when it has prepared something: all that DISCARD ALL does, but for DEALLOCATE ALL."""

    def reset(client):
        done(client.ask("SET SESSION AUTHORIZATION DEFAULT;RESET ALL;CLOSE ALL;UNLISTEN *;SELECT pg_advisory_unlock_all();"
                        "DISCARD SEQUENCES;DISCARD TEMP"))

    check_in(server, FOLLOWING, reset, forgets_statements=False)


def P5_SET_SESSION_AUTHORIZATION_DEFAULT_ends_a_role_for_good(server):
    """As the server does it: what was said about the role before must not be said again, to this server or to another."""
    with pooled(server) as proxy, proxy.log_in() as one, proxy.log_in() as other:
        done(one.ask("SET ROLE app"))
        assert one.value("SELECT current_user") == "app"
        done(one.ask("SET SESSION AUTHORIZATION DEFAULT"))
        assert other.value("SELECT current_user") == "postgres"
        assert one.value("SELECT current_user") == "postgres"
        assert not proxy.log_where(msg=PINNED)
        done(one.ask("SET SESSION AUTHORIZATION app"))
        proxy.wait_for_log(msg=PINNED, detail="session authorization")


def P5_asyncpgs_reset_leaves_a_clean_server_unpinned(server):
    def reset(client):
        done(client.ask("SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;"))

    check_in(server, FOLLOWING, reset, forgets_statements=False)


def P5_ROLLBACK_is_enough_where_nothing_is_set(server):
    """SQLAlchemy's, psycopg_pool's and HikariCP's: settings stay with the client that made them, and meet nobody else."""
    with pooled(server) as proxy, proxy.log_in() as one, proxy.log_in() as other:
        done(one.ask("SET work.who = 'me'"))
        done(one.ask("BEGIN"))
        done(one.ask("SET TimeZone = 'Asia/Tokyo'"))
        done(one.ask("ROLLBACK"))
        assert columns(other.ask(LEFT)) == CLEAN
        assert columns(one.ask(LEFT)) == [b"me", *CLEAN[1:]]
        assert not proxy.log_where(msg=PINNED)
