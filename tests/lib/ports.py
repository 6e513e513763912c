"""Ports for servers that go away and come back.

A port that the kernel gives out (postgres.free_port) may be given to somebody's outgoing connection while its server is down, even to one that
was meant for that server. Those below the kernel's range are only ever taken by who asks for them.
"""

import random
import socket

RANGE = "/proc/sys/net/ipv4/ip_local_port_range"


def lasting_port():
    """A port of 127.0.0.1 on which nobody listens, and that nobody is given by chance."""
    with open(RANGE) as file:
        first_given = int(file.read().split()[0])
    while True:
        port = random.randrange(first_given // 2, first_given)
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) != 0:
                return port
