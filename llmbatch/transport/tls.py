"""The TLS context that all lanes of a run share, because building one is slow."""

import os
import ssl
from collections.abc import Callable
from functools import cache

import httpx

from llmbatch.core.errors import UsageError

__all__ = ["shared_context"]


def shared_context(ca_file: str | None) -> Callable[[], ssl.SSLContext]:
    """Return a function that builds the context once, when it is first called; it raises UsageError too.

    Certificates are always verified: against `ca_file`, else those that httpx finds.
    Raises UsageError at once when a file named so cannot be read.
    """
    path = ca_file
    if path and not (os.path.isfile(path) and os.access(path, os.R_OK)):
        raise UsageError(
            f"no certificates at {path!r}", "Name a PEM file that can be read, with --ca-file or SSL_CERT_FILE."
        )

    @cache
    def context() -> ssl.SSLContext:
        try:
            built = ssl.create_default_context(cafile=path) if path else httpx.create_ssl_context()
        except OSError as error:  # ssl.SSLError is one
            reason = getattr(error, "reason", None) or error.strerror
            raise UsageError(f"no usable certificates in {path!r}: {reason}", "Name a PEM file.") from error
        built.minimum_version = ssl.TLSVersion.TLSv1_2
        built.set_alpn_protocols(["http/1.1"])
        return built

    return context
