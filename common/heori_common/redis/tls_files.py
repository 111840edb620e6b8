"""The files that TLS needs: what OpenSSL says of them does not name them."""

from collections.abc import Sequence
from pathlib import Path


def unreadable(tls_files: Sequence[tuple[str, str]]) -> str | None:
    """Which of these files cannot be used, and why.

    Args:
        tls_files: as `Address` has them.
    """
    if not tls_files:
        return None
    import ssl  # noqa: PLC0415 - few need it, and it takes most of a megabyte

    for option, path in tls_files:
        try:
            if option == "ssl_ca_certs":
                ssl.create_default_context(cafile=path)
            elif option == "ssl_ca_path":
                next(Path(path).iterdir(), None)
            else:
                Path(path).read_bytes()
        except ssl.SSLError as error:
            return f"{option}: {path} holds no certificate: {error}"
        except OSError as error:
            return f"{option}: {path}: {error.strerror}"
    return None
