"""A thread for each client, for the pools of Python that block. A pool gives `connection()`, a context manager over a connection of psycopg
outside of any transaction."""

import threading

import psycopg
from work import CLIENTS, INSERT, SUM, TURNS, Tally, check, rows_before

INSERT = INSERT.format("%s", "%s", "%s")
SUM = SUM.format("%s")


def insert(c, client, turn):
    c.execute(INSERT, (client, turn, client + 1), prepare=True)


def notify(c, client, turn):
    insert(c, client, turn)
    c.execute("SELECT pg_notify('work', %s)", (str(client),))


def rollback(c, client, turn):
    with c.transaction():
        insert(c, client, turn)
        check(c.execute(SUM, (client,)).fetchone()[0], rows_before(turn) + 1, "rows within the transaction")
        raise psycopg.Rollback


def local(c, client, turn):
    with c.transaction():
        c.execute(f"SET LOCAL work.who = '{client}.{turn}'")
        insert(c, client, turn)
        check(c.execute("SELECT current_setting('work.who')").fetchone()[0], f"{client}.{turn}", "SET LOCAL")


def settings(c, client, turn):
    c.execute(f"SET work.who = '{client}.{turn}'")
    c.execute(f"SET search_path = client_{client}, public")
    check(c.execute(SUM, (client,), prepare=True).fetchone()[0], rows_before(turn), "rows")
    check(c.execute("SELECT current_setting('work.who')").fetchone()[0], f"{client}.{turn}", "SET")
    check(c.execute("SHOW search_path").fetchone()[0], f"client_{client}, public", "search_path")


def cursor(c, client, _turn):
    seen = []
    with c.transaction(), c.cursor("portions") as portions:
        portions.execute("SELECT %s * 1000 + generate_series(1, 50)", (client,))
        while rows := portions.fetchmany(10):
            seen += [row[0] for row in rows]
            check(c.execute("SELECT %s::int", (client,)).fetchone()[0], client, "between two portions")
    check(seen, list(range(client * 1000 + 1, client * 1000 + 51)), "rows of the cursor")


def copy(c, client, turn):
    with c.cursor() as cur:
        with cur.copy("COPY ledger (client, turn, amount) FROM STDIN") as rows:
            rows.write_row((client, turn, client + 1))


def error(c, client, turn):
    try:
        c.execute("SELECT 1 / %s", (0,))
    except psycopg.errors.DivisionByZero:
        insert(c, client, turn)
        return
    check("no error", "22012", "1 / 0")


def total(c, client, turn):
    count = rows_before(turn)
    check(c.execute(SUM, (client,), prepare=True).fetchone(), (count, count * (client + 1)), "rows and sum")


KINDS = (notify, rollback, local, settings, cursor, copy, error, total)


def client_of(pool, client, tally, lock):
    for turn in range(TURNS):
        try:
            with pool() as c:
                KINDS[turn % len(KINDS)](c, client, turn)
        except Exception as failure:  # pylint: disable=broad-except
            with lock:
                tally.failed(client, turn, failure)
        with lock:
            tally.turns += 1


def play(pool):
    """Plays all clients and prints the tally. `pool` gives connections."""
    tally, lock = Tally(), threading.Lock()
    clients = [threading.Thread(target=client_of, args=(pool, client, tally, lock)) for client in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    tally.show()
