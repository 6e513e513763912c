"""Certificates for a test: an authority of its own, and what it signs.

    tls = Certificates(directory)
    … tls.ca, tls.certificate, tls.key: files, of a server at localhost and 127.0.0.1 …
"""

import os
import subprocess

NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Certificates:
    def __init__(self, directory, names=NAMES):
        """`names` is what the server's certificate is for. Files are readable by everybody: servers may run as other users."""
        self.directory = directory
        self.ca, ca_key = self._path("ca.pem"), self._path("ca.key")
        self.certificate, self.key = self._path("server.pem"), self._path("server.key")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-keyout", ca_key,
                "-out", self.ca, "-subj", "/CN=authority of a test")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-keyout", self.key,
                "-out", self.certificate, "-subj", "/CN=server of a test", "-addext", names, "-addext", "basicConstraints=critical,CA:FALSE",
                "-CA", self.ca, "-CAkey", ca_key)
        os.chmod(self.key, 0o644)

    def _path(self, name):
        return os.path.join(self.directory, name)
