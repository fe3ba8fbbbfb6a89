"""A provider as it stands on this machine, for people to look at."""

from dataclasses import asdict, dataclass

__all__ = ["Check", "Provider"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What GET /models said. `models` counts them, where that could be read."""

    ok: bool
    message: str
    status: int | None = None
    models: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One preset as it stands here. `key_set` is whether any of the variables holds something; never what."""

    provider: str
    base_url: str
    endpoint: str
    key_env: tuple[str, ...]
    key_set: bool
    needs_key: bool
    check: Check | None = None

    def as_json(self) -> dict[str, object]:
        """Return the same as plain values."""
        fields = asdict(self)
        if self.check is None:
            del fields["check"]
        return fields
