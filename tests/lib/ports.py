"""Ports for what is about to listen.

One that the kernel gives out may be somebody's outgoing connection before its server listens, or while that is down; it may even be the end of a
connection that was meant for the server. Those below the kernel's range are only ever taken by who asks for them.
"""

import random
import socket

RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
given = set()


def free_port():
    """A port of 127.0.0.1 on which nobody listens, that this program is given once and nobody by chance."""
    with open(RANGE) as file:
        first_of_kernel = int(file.read().split()[0])
    while True:
        port = random.randrange(first_of_kernel // 2, first_of_kernel)
        with socket.socket() as s:
            if port not in given and s.connect_ex(("127.0.0.1", port)) != 0:
                given.add(port)
                return port
