"""Certificates for a test: an authority of its own, and what it signs.

    tls = Certificates(directory)
    … tls.ca, tls.certificate, tls.key: files, of a server at localhost and 127.0.0.1 …
    certificate, key = tls.issue("app", "/CN=app")
"""

import os
import subprocess

NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Certificates:
    def __init__(self, directory, names=NAMES):
        """`names` is what the server's certificate is for. Files are readable by everybody: servers may run as other users."""
        self.directory = directory
        self.ca, self.ca_key = self._path("ca.pem"), self._path("ca.key")
        openssl("req", "-x509", *NEW_KEY, "-keyout", self.ca_key, "-out", self.ca, "-subj", "/CN=authority of a test")
        self.certificate, self.key = self.issue("server", "/CN=server of a test", "-addext", names)

    def issue(self, file, subject, *options):
        """Signs another certificate, in FILE.pem and FILE.key; over one that is there."""
        certificate, key = self._path(file + ".pem"), self._path(file + ".key")
        openssl("req", "-x509", *NEW_KEY, "-keyout", key, "-out", certificate, "-subj", subject, *options, "-addext",
                "basicConstraints=critical,CA:FALSE", "-CA", self.ca, "-CAkey", self.ca_key)
        os.chmod(key, 0o644)
        return certificate, key

    def _path(self, name):
        return os.path.join(self.directory, name)
