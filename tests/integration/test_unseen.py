"""What a transaction pool has to notice although no SQL says it plainly (P5)."""

import struct

from test_checkin_pooled import PINNED, columns, done
from test_pool import pooled
from wire import message

PG_ADVISORY_LOCK, SET_CONFIG, LO_CREAT = 2880, 2078, 957


def call(oid, *arguments, binary=0):
    """A FunctionCall."""
    body = struct.pack("!ihhh", oid, 1, binary, len(arguments))
    for argument in arguments:
        body += struct.pack("!i", len(argument)) + argument
    return message(b"F", body + struct.pack("!h", 0))


def called(client, *call_of):
    client.send(call(*call_of))
    return done(client.read_until(b"Z"))


def pins(proxy):
    return [line["detail"] for line in proxy.log_where(msg=PINNED)]


def P5_a_function_that_is_called_by_its_number_keeps_its_server(server):
    with pooled(server, pool_size=2) as proxy, proxy.log_in() as a, proxy.log_in() as b:
        called(a, SET_CONFIG, b"work.who", b"me", b"false")
        called(a, PG_ADVISORY_LOCK, b"42")
        assert b.value("SELECT current_setting('work.who', true)") != "me"
        assert b.value("SELECT pg_try_advisory_lock(42)") == "f", "the lock is held, by somebody else"
        assert a.value("SELECT current_setting('work.who')") == "me"
        assert pins(proxy)[0] == "function call"
        done(a.ask("DISCARD ALL"))
        assert b.value("SELECT pg_try_advisory_lock(42)") == "t"


def P5_large_objects_keep_no_server(server):
    with pooled(server, pool_size=1) as proxy, proxy.log_in() as a, proxy.log_in() as b:
        done(a.ask("BEGIN"))
        called(a, LO_CREAT, b"-1")
        done(a.ask("COMMIT"))
        assert b.value("SELECT 1") == "1"
        assert pins(proxy) == []


def P5_a_startup_packet_whose_tables_are_temporary_keeps_its_server(server):
    for options in ({"options": "-c search_path=PG_TEMP,public"}, {"search_path": '"pg_temp"'}):
        with pooled(server, pool_size=2) as proxy, proxy.log_in(**options) as a, proxy.log_in() as b:
            done(a.ask("CREATE TABLE mine (id int)"))
            assert b.value("SELECT to_regclass('mine') IS NULL") == "t"
            assert a.value("SELECT count(*) FROM mine") == "0"
            done(a.ask("DISCARD ALL"))
            done(a.ask("CREATE TABLE mine (id int)"))
            assert b.value("SELECT to_regclass('mine') IS NULL") == "t", "DISCARD ALL goes back to the same search_path"
            assert pins(proxy) == ["temporary table"]


def P5_a_search_path_whose_letters_are_escaped_is_seen_when_it_holds(server):
    with pooled(server, pool_size=2) as proxy, proxy.log_in() as a, proxy.log_in() as b:
        done(a.ask(r"SET search_path = E'pg\x5ftemp'"))
        done(a.ask("CREATE TABLE mine (id int)"))
        assert b.value("SELECT to_regclass('mine') IS NULL") == "t"
        assert pins(proxy) == ["temporary table"]


def P2_a_setting_that_is_too_large_to_follow_keeps_its_server_and_takes_no_memory(server):
    with pooled(server, pool_size=2) as proxy, proxy.log_in() as a, proxy.log_in() as b:
        before = proxy.memory_kb()
        done(a.ask("SELECT set_config('my.a', repeat('x', 100000000), false) IS NULL"))
        assert b.value("SELECT length(current_setting('my.a', true))") in (None, "", "0")
        assert a.value("SELECT length(current_setting('my.a'))") == "100000000"
        assert pins(proxy) == ["many settings"]
        assert proxy.memory_kb() < before + 20000


def P2_settings_that_are_too_large_together_keep_their_server(server):
    with pooled(server, pool_size=2) as proxy, proxy.log_in() as a, proxy.log_in() as b:
        for i in range(4):
            assert pins(proxy) == []
            done(a.ask(f"SET my.a{i} = '{'x' * 80000}'"))
        assert b.value("SELECT coalesce(current_setting('my.a3', true), '')") == ""
        assert a.value("SELECT length(current_setting('my.a0')) + length(current_setting('my.a3'))") == "160000"
        assert pins(proxy) == ["many settings"]


DEFAULTS = ("default_transaction_isolation", "default_transaction_read_only", "default_transaction_deferrable")
CHARACTERISTICS = [
    "SET SESSION CHARACTERISTICS AS TRANSACTION {}",
    "set session characteristics as transaction isolation level serializable; SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY;"
    "/* */ SET SESSION CHARACTERISTICS AS TRANSACTION DEFERRABLE",
    "SET default_transaction_isolation = serializable; SET SESSION default_transaction_read_only TO on;"
    "SET \"default_transaction_deferrable\" = 'on'",
    "SELECT set_config('default_transaction_isolation', 'serializable', false), set_config('DEFAULT_TRANSACTION_READ_ONLY', 'on', false),"
    "set_config('default_transaction_deferrable', 'on', false)",
]


def defaults_of(client):
    return [client.value(f"SHOW {name}") for name in DEFAULTS]


def P5_what_transactions_begin_with_follows_the_client_however_it_is_said(server):
    plain = ["read committed", "off", "off"]
    for text in CHARACTERISTICS:
        text = text.format("ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE")
        with pooled(server, pool_size=1) as proxy, proxy.log_in() as a, proxy.log_in() as b:
            done(a.ask(text))
            for _ in range(2):
                assert defaults_of(b) == plain, text
                assert defaults_of(a) == ["serializable", "on", "on"], text
                assert a.value("SHOW transaction_isolation") == "serializable"
            done(a.ask("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE, NOT DEFERRABLE"))
            assert defaults_of(b) == plain, text
            assert defaults_of(a) == ["serializable", "off", "off"], text
            done(a.ask("BEGIN; SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY; ROLLBACK"))
            done(a.ask("RESET default_transaction_isolation"))
            assert defaults_of(a) == plain
            assert pins(proxy) == []


def P5_the_pools_own_words_wait_for_no_transaction_of_others(server):
    """A transaction that is serializable, read only and deferrable waits for those that are open."""
    modes = "ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE"
    with (pooled(server, pool_size=2) as proxy, proxy.log_in() as busy, proxy.log_in(options="-c my.a=0 -c my.c=0") as a,
          proxy.log_in() as b):
        done(busy.ask("BEGIN ISOLATION LEVEL SERIALIZABLE; CREATE TABLE IF NOT EXISTS waited (id int); INSERT INTO waited VALUES (1)"))
        done(a.ask(f"SET SESSION CHARACTERISTICS AS TRANSACTION {modes}"))
        done(a.ask("SET my.a = '1'"))
        done(b.ask("SET my.b = '1'"))
        assert defaults_of(b) == ["read committed", "off", "off"]
        done(a.ask("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT 1; COMMIT"))
        done(a.ask("RESET my.a"))
        assert columns(a.ask("BEGIN ISOLATION LEVEL READ COMMITTED; SELECT current_setting('my.a'), current_setting('my.c'); COMMIT")) == [b"0", b"0"]
        done(busy.ask("ROLLBACK"))
