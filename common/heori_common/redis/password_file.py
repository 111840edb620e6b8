"""A login whose password is in a file: it is read for each connection.

So a password that is changed needs no restart.
"""

from pathlib import Path

from redis import exceptions

from heori_common.redis.address import LoginFile


class FileCredentials:
    """A login for redis-py, which asks for it whenever it connects: its `CredentialProvider`."""

    def __init__(self, login: LoginFile) -> None:
        self._login = login

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """What AUTH is sent.

        Raises:
            redis.exceptions.ConnectionError: the file cannot be read, or is empty.
        """
        username, path = self._login
        try:
            password = Path(path).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise exceptions.ConnectionError(f"its password cannot be read: {error}") from error
        if not password:
            raise exceptions.ConnectionError(f"its password cannot be read: {path} is empty")
        return (username, password) if username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """As `get_credentials`: the file is a short one."""
        return self.get_credentials()
