"""What tests of sinks do with events: make them, and ask the log what became of them."""

import socket
import threading

from waiting import wait_until


def quoted(text):
    """A literal that PostgreSQL reads as this text, whatever is in it."""
    return "$quoted$" + text + "$quoted$" if "$quoted" not in text else "'" + text.replace("'", "''") + "'"


def notify(client, channel, *payloads):
    """Each in a transaction of its own; pg_notify(), for its payload may be a dollar-quoted literal."""
    for payload in payloads:
        client.ask(f"SELECT pg_notify('{channel}', {quoted(payload)})")


def reasons(proxy, kind="event_retry"):
    return [line["reason"] for line in proxy.log_where(msg=kind)]


def wait_for_reason(proxy, part, kind="event_retry"):
    wait_until(lambda: any(part in reason for reason in reasons(proxy, kind)),
               f"{kind} because of “{part}”; there are {set(reasons(proxy, kind))}", seconds=60)


def wait_until_delivered(proxy, count, seconds=60.0):
    def delivered():
        with open(proxy.log) as log:
            return log.read().count('"msg":"event_delivered"')
    try:
        wait_until(lambda: delivered() >= count, f"{count} events to be delivered", seconds)
    except AssertionError as late:
        raise AssertionError(f"{late}; {delivered()} were; retries because of {set(reasons(proxy))}") from None


def numbers(first, last):
    """Payloads that are told apart."""
    return [str(n) for n in range(first, last)]


def last_of_each(items):
    """Without copies: what a consumer ends up with that takes the last of them. Nothing may be missing, nor be overtaken."""
    last = {item: at for at, item in enumerate(items)}
    return sorted(last, key=last.get)


def first_of_each(items):
    """Without copies: what a consumer has done who remembers what it has seen."""
    return list(dict.fromkeys(items))


class Mute:
    """A server that takes connections and never says a word."""

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.accepted = []
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def _accept(self):
        try:
            while True:
                self.accepted.append(self.listener.accept()[0])
        except OSError:
            return

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.accepted:
            connection.close()
