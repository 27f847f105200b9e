"""MONGODB-X509: the listener has verified a certificate; its subject says who it is."""

from mdb_engine.exceptions import ConfigurationError
from mdb_engine.subjects import canonical
from mdb_proxy.auth.conversation import Gate, Step, failed


class X509Conversation:
    """One login by certificate: a single payload, which may name the subject again."""

    __slots__ = ("_gate", "name")

    def __init__(self, gate: Gate) -> None:
        self.name = ""
        self._gate = gate

    def step(self, payload: bytes) -> Step:
        """The answer.

        Raises:
            AuthenticationFailedError: there is no certificate, nobody has its subject, or the
                client names another one.
        """
        if not self._gate.secure:
            raise failed()
        try:
            subject = canonical(self._gate.subject)
            self.name = subject
            named = canonical(payload.decode()) if payload else subject
        except (ConfigurationError, UnicodeDecodeError):
            raise failed() from None
        found = self._gate.by_subject(subject)
        if found is None or named != subject:
            raise failed()
        self.name = found.name
        return Step(b"", done=True, holder=found)
