"""pgatomic with a pool of few servers, and the client that makes them unclean."""

import contextlib
import os
import subprocess

from pgatomic import Pgatomic
from postgres import PASSWORD, USER
from programs import PYTHON

HERE = os.path.dirname(os.path.abspath(__file__))

CONFIG = """\
listen = {{"127.0.0.1:{port}"}}
http = ""
log {{ format = json  level = info  file = "{log}"  payloads = full }}
auth {{ method = scram-sha-256  users = "users.conf" }}
database "{database}" {{
    upstream = "host=127.0.0.1 port={upstream}"
    control  = "host={directory} port={upstream} user=postgres dbname={database}"
    pool = {mode}  pool_size = {size}
}}
"""


class PooledPgatomic(Pgatomic):
    """For one database, over `size` servers; `mode` is the pool's."""

    def __init__(self, server, database, blocks, mode, size):
        super().__init__(server, blocks)
        self.database, self.mode, self.size = database, mode, size
        with open(os.path.join(self.directory, "users.conf"), "w", encoding="utf-8") as users:
            users.write(f'user "{USER}" {{ password = "{PASSWORD}" }}\n')

    def write_config(self, blocks):
        self.blocks = blocks
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(port=self.port, log=self.log, upstream=self.server.port, directory=self.server.directory,
                                     database=self.database, mode=self.mode, size=self.size) + blocks)


@contextlib.contextmanager
def meddled_with(environment):
    """While the block runs, python/meddler.py is at work on the same servers. Yields a list, in which stands afterwards what it missed."""
    missed = []
    process = subprocess.Popen([PYTHON, os.path.join(HERE, "python", "meddler.py")], env={**os.environ, **environment},
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield missed
    finally:
        try:
            told, errors = process.communicate("enough\n", timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            told, errors = process.communicate()
            errors += "\nit did not stop"
        if process.returncode != 0 or int(told) < 1:
            missed.append(f"the other client of the same servers: {errors.strip()[-2000:]}")
