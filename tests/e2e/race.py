"""The two applications that everybody gets wrong: a sign-up and the worker that sends the mail.

The sign-up adds a user, asks the worker for a welcome mail, is busy for a moment, and adds the profile. The worker looks up both when it is
asked. Every tenth sign-up fails at its end.

    race.py [TRIES]     prints {"tries", "welcomed", "strangers", "halves"}

`strangers` are mails that were asked for in vain: the worker did not find what it should welcome. `halves` are users without a profile.

The application finds its database in PG…, pgatomic or not; the worker listens to PostgreSQL itself, at WORKER_PGPORT. Nothing
here depends on pgatomic: the marks around a request are plain SQL.
"""

import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg

TABLES = """
    CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL);
    CREATE TABLE profiles (user_id int PRIMARY KEY REFERENCES users, size int NOT NULL);
"""
CLIENTS = 4


def connect(**options):
    return psycopg.connect(autocommit=True, **options)


def sign_up(db, user):
    db.execute("INSERT INTO users VALUES (%s, %s)", [user, f"user{user}@example.com"])
    db.execute("SELECT pg_notify('welcome', %s)", [str(user)])
    db.execute("SELECT pg_sleep(0.002)")
    db.execute("INSERT INTO profiles VALUES (%s, 100 / %s)", [user, user % 10])


def serve(db, user):
    """A request, as a framework runs its handlers."""
    db.execute("SELECT set_config('pgatomic.request', '/signup', false)")
    try:
        sign_up(db, user)
        outcome = "commit"
    except psycopg.Error:
        outcome = "rollback"
    db.execute("SELECT set_config('pgatomic.outcome', %s, false)", [outcome])


class Worker(threading.Thread):
    """Sends welcome mails, until it is asked to welcome `nobody`."""

    def __init__(self):
        super().__init__()
        self.welcomed, self.strangers = 0, 0
        self.inbox = connect(port=os.environ["WORKER_PGPORT"])
        self.db = connect(port=os.environ["WORKER_PGPORT"])
        self.inbox.execute("LISTEN welcome")

    def run(self):
        for mail in self.inbox.notifies():
            if mail.payload == "nobody":
                break
            self.welcome(int(mail.payload))

    def welcome(self, user):
        found = self.db.execute("SELECT email, size FROM users JOIN profiles ON user_id = id WHERE id = %s", [user]).fetchone()
        if found:
            self.welcomed += 1
        else:
            self.strangers += 1


def main(tries):
    with connect(port=os.environ["WORKER_PGPORT"]) as db:
        db.execute(TABLES)
    worker = Worker()
    worker.start()

    def serve_every(first):
        with connect() as db:
            for user in range(first, tries, CLIENTS):
                serve(db, user)

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(serve_every, range(CLIENTS)))
    with connect(port=os.environ["WORKER_PGPORT"]) as db:
        db.execute("NOTIFY welcome, 'nobody'")
        worker.join()
        [halves] = db.execute("SELECT count(*) FROM users WHERE id NOT IN (SELECT user_id FROM profiles)").fetchone()
    print(json.dumps({"tries": tries, "welcomed": worker.welcomed, "strangers": worker.strangers, "halves": halves}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
