"""Connections that have not shown who they are (P9): there are only so many, and they take nothing from those who have."""

import contextlib
import os
import select

from proxy import wait_until
from test_login import PASSWORD, USERS, LoginProxy, Roles
from wire import SSL_REQUEST, Client, startup

DESCRIPTORS = 48
USER = "login_scram"
TURNED_AWAY = "connection closed: too many others have not logged in either"
TOO_FEW = "limits.clients takes more descriptors than there may be: raise the limit of open files, or lower it"


class Narrow(LoginProxy):
    """One that may have DESCRIPTORS descriptors only."""

    def __init__(self, server, more, **options):
        super().__init__(server, f"method = scram-sha-256  {USERS}", {USER: PASSWORD}, more, **options)
        binary, self.binary = self.binary, os.path.join(self.directory, "narrow")
        with open(self.binary, "w") as file:
            file.write(f'#!/bin/sh\nexec prlimit --nofile={DESCRIPTORS}:{DESCRIPTORS} "{binary}" "$@"\n')
        os.chmod(self.binary, 0o755)

    def keep_going(self, busy, idle):
        """One that is in gets a second server, and one that comes gets in."""
        busy.execute("BEGIN")
        assert idle.execute("SELECT 1").fetchone()[0] == 1
        busy.execute("COMMIT")
        assert self.who(USER) == USER


def is_closed(client):
    if not select.select([client.socket], [], [], 0)[0]:
        return False
    with contextlib.suppress(ConnectionError):
        return client.socket.recv(1000) == b""
    return True


def P9_those_who_show_nothing_leave_descriptors_to_those_who_have(server):
    kinds = {"nothing": b"", "a question": SSL_REQUEST, "a name": startup(user=USER, database="pgatomic")}
    with Roles(server):
        for kind, said in kinds.items():
            with Narrow(server, f'limits {{ clients = 1000 }}\nadmin_users = {{"{USER}"}}\n') as proxy, contextlib.ExitStack() as stack:
                busy, idle = (stack.enter_context(proxy.psycopg(USER)) for _ in range(2))
                crowd = [stack.enter_context(Client(proxy.port)) for _ in range(DESCRIPTORS * 2)]
                for client in crowd:
                    with contextlib.suppress(ConnectionError):
                        client.send(said)
                proxy.keep_going(busy, idle)
                assert proxy.descriptors() < DESCRIPTORS, kind
                assert not proxy.log_where(msg="cannot take connections"), kind


def P9_of_those_who_show_nothing_the_oldest_go_and_the_newest_stay(server):
    with Roles(server), Narrow(server, "limits { clients = 4 }\n") as proxy, contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(Client(proxy.port)) for _ in range(6)]
        proxy.wait_for_log(2, msg=TURNED_AWAY)
        wait_until(lambda: is_closed(crowd[0]) and is_closed(crowd[1]), "the oldest two to be closed")
        assert not any(is_closed(client) for client in crowd[2:])
        assert proxy.who(USER) == USER
        wait_until(lambda: is_closed(crowd[2]), "the next one to have gone")
        assert not any(is_closed(client) for client in crowd[3:])
        assert proxy.who(USER) == USER
        assert not any(is_closed(client) for client in crowd[3:]), "who has left or logged in leaves a place"


def P9_who_is_turned_away_in_the_middle_of_its_login_is_told_so(server):
    with Roles(server), Narrow(server, "limits { clients = 1 }\n") as proxy, Client(proxy.port) as client:
        client.send(startup(user=USER, database="postgres"))
        client.read_until(b"R")
        with Client(proxy.port):
            assert client.fatal()["C"] == "53300"


def P9_a_limit_of_clients_above_that_of_descriptors_is_warned_of(server):
    with Roles(server):
        with Narrow(server, "limits { clients = 100 }\n") as proxy:
            (line,) = proxy.wait_for_log(msg=TOO_FEW)
            assert line["level"] == "warn" and line["descriptors"] == DESCRIPTORS and line["needed"] > 100
        with Narrow(server, "limits { clients = 2 }\n") as proxy:
            assert not proxy.log_where(msg=TOO_FEW)
