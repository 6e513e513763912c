"""Hundreds of clients that do nothing: a worker leaves a hundred awake and puts the others to sleep, which nobody may notice (P3 to P7)."""

import os
import socket
import threading

import psycopg

from proxy import Proxy, wait_until
from test_admin import Console
from test_neighbours import connect, setting, value
from test_listen_pooled import pooled as listening
from test_pool import TRUST, database, pooled

# More than a worker leaves awake, with room for those who have spoken a moment ago.
MANY, AWAKE_MOST = 300, 100

ADMINS = 'admin_users = {"postgres"}\n'
RUNNING = "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND state = 'active'"


def name_of(client):
    """As the log has it."""
    with socket.socket(fileno=os.dup(client.fileno())) as own:
        return "{}:{}".format(*own.getsockname())


def let_sleep(proxy, clients):
    """Until as many sleep as ever do: those. A worker looks at a few each time that it has had something to do."""

    def sleepers():
        value(clients[-1], "SELECT 1")
        states = {line["client"]: line["detail"] for line in proxy.log_where(msg="client state")}
        asleep = [client for client in clients if states[name_of(client)] == "asleep"]
        return len(asleep) >= len(clients) - AWAKE_MOST and asleep

    return wait_until(sleepers, "clients to sleep")


def P5_clients_that_have_slept_find_their_settings_and_statements(server):
    with pooled(server, pool_size=2) as proxy:
        clients = [connect(proxy, application_name=f"client {number}") for number in range(MANY)]
        for turn in range(2):
            for number, client in enumerate(clients):
                if turn == 0:
                    client.execute(f"SET my.number = '{number}'")
                assert setting(client, "my.number") == str(number)
                assert setting(client, "application_name") == f"client {number}"
                assert value(client, f"SELECT {number % 7} + %s::int", (turn,), prepare=True) == number % 7 + turn
            let_sleep(proxy, clients)
        assert len(server.sql("SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'client %'")) <= 2
        for client in clients:
            client.close()


def P4_a_reload_of_the_pools_kind_leaves_clients_what_they_have_prepared(server):
    """Awake or asleep, they go on as they began, and share the servers."""
    with pooled(server, pool_size=2) as proxy:
        clients = [connect(proxy) for _ in range(MANY)]
        for number, client in enumerate(clients):
            client.execute(f"PREPARE mine AS SELECT {number}")
            assert value(client, f"SELECT {number} + %s::int", (1,), prepare=True) == number + 1
        let_sleep(proxy, clients)
        proxy.change_config(TRUST + database(server, pool_size=2, pool="session"))
        for number, client in enumerate(clients):
            assert value(client, "EXECUTE mine") == number
            assert value(client, f"SELECT {number} + %s::int", (2,), prepare=True) == number + 2
        for client in clients:
            client.close()


def P6_a_client_hears_while_hundreds_sleep(server):
    with listening(server) as proxy:
        listener = connect(proxy)
        listener.execute("LISTEN morning")
        sleepers = [connect(proxy) for _ in range(MANY)]
        let_sleep(proxy, sleepers)
        sleepers[0].execute("NOTIFY morning, 'wake up'")
        (heard,) = listener.notifies(timeout=60, stop_after=1)
        assert heard.payload == "wake up"
        for client in sleepers:
            client.close()


def P7_who_has_slept_can_be_cancelled_with_the_key_of_its_greeting(server):
    with pooled(server, pool_size=2) as proxy:
        clients = [connect(proxy) for _ in range(MANY)]
        first = let_sleep(proxy, clients)[0]
        errors = []

        def work():
            try:
                first.execute("SELECT pg_sleep(600)")
            except psycopg.errors.QueryCanceled as error:
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        wait_until(lambda: server.sql(RUNNING), "the query to run")
        first.cancel()
        thread.join()
        assert len(errors) == 1 and value(first, "SELECT 1") == 1
        for client in clients:
            client.close()


def R1_a_request_begins_with_a_mark_after_a_long_sleep(server):
    with Proxy(server, TRUST + 'route "r" { match = "/*"  mode = atomic }\n' + database(server, pool_size=2), database=False) as proxy:
        server.sql("CREATE TABLE slept (id int)")
        clients = [connect(proxy) for _ in range(MANY)]
        let_sleep(proxy, clients)
        for number, client in enumerate(clients):
            client.execute("SET pgatomic.request = '/sleep'")
            client.execute(f"INSERT INTO slept VALUES ({number})")
            client.execute(f"SET pgatomic.outcome = '{'commit' if number % 2 else 'rollback'}'")
        assert server.sql("SELECT count(*), min(id % 2) FROM slept") == [[str(MANY // 2), "1"]]
        server.sql("DROP TABLE slept")
        for client in clients:
            client.close()


def shell_the_console_shows_and_ends_clients_that_sleep(server):
    with Console(server, TRUST + ADMINS + database(server, pool_size=2), database=False) as proxy:
        clients = [connect(proxy, application_name=f"client {number}") for number in range(MANY)]
        asleep = clients.index(let_sleep(proxy, clients)[0])
        rows = [row for row in proxy.ask("SHOW CLIENTS") if row["state"] != "admin"]
        assert sorted(row["application_name"] for row in rows) == sorted(f"client {number}" for number in range(MANY))
        (number,) = [row["id"] for row in rows if row["application_name"] == f"client {asleep}"]
        assert proxy.psql(f"KILL {number}")[0] == 0
        wait_until(lambda: len([row for row in proxy.ask("SHOW CLIENTS") if row["state"] != "admin"]) == MANY - 1, "one to be gone")
        for client in clients:
            client.close()
        wait_until(lambda: all(row["state"] == "admin" for row in proxy.ask("SHOW CLIENTS")), "all to be gone")
