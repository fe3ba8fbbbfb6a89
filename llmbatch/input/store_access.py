"""Opens object stores by obstore, with the credentials that the environment and the files of their own tools have."""

import os
from configparser import ConfigParser
from configparser import Error as ConfigError
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from llmbatch.core.environment import ENVIRONMENT
from llmbatch.core.errors import UsageError
from llmbatch.input.address import Address
from llmbatch.input.store_errors import explained

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["opened"]

_CONNECT = timedelta(seconds=10)
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
"""The variables that lead to other stores with the same API."""
_PROFILE = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_region")


def opened(address: Address, timeout: timedelta) -> "tuple[ObjectStore, str]":
    """Return the store of an address and the path in it. Raises UsageError without obstore, InputError."""
    try:
        import obstore  # noqa: F401  # only whether it is there
    except ImportError:
        raise UsageError(f"{address.scheme}:// inputs need an extra", "pip install 'llmbatch[remote]'") from None
    place = str(address) if address.is_web else address.bucket
    endpoint = next((url for name in _ENDPOINTS.get(address.scheme, ()) if (url := ENVIRONMENT.get(name))), "")
    try:
        return _store(address.scheme, place, endpoint, timeout), "" if address.is_web else address.key
    except Exception as error:
        raise explained(address, error) from error


@lru_cache(maxsize=128)
def _store(scheme: str, place: str, endpoint: str, timeout: timedelta) -> "ObjectStore":
    """Open a store, which has connections of its own. `endpoint` is one that the environment names."""
    from obstore.store import AzureStore, GCSStore, HTTPStore, S3Store

    allows_http = scheme == "http" or endpoint.startswith("http://")  # it is what the user wrote
    options: Any = {
        "client_options": {"timeout": timeout, "connect_timeout": _CONNECT, "allow_http": allows_http},
        "retry_config": {"max_retries": 0, "retry_timeout": timeout},  # tries are counted where they are made
    }
    match scheme:
        case "s3":
            return S3Store(place, config={} if ENVIRONMENT.get("AWS_ACCESS_KEY_ID") else _profile(), **options)
        case "gs":
            return GCSStore(place, **options)
        case "az":
            return AzureStore(place, **options)
    return HTTPStore.from_url(place, **options)


def _profile() -> Any:
    """Return the keys and the region of a profile in the files of the AWS command line."""
    name = ENVIRONMENT.get("AWS_PROFILE") or "default"
    found: dict[str, str] = {}
    for variable, file, section in (
        ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", name),
        ("AWS_CONFIG_FILE", "~/.aws/config", name if name == "default" else f"profile {name}"),
    ):
        reader = ConfigParser(interpolation=None)
        try:
            reader.read(os.path.expanduser(ENVIRONMENT.get(variable) or file))
        except (ConfigError, OSError, UnicodeError):
            continue
        found.update(reader[section] if reader.has_section(section) else {})
    if not (ENVIRONMENT.get("AWS_REGION") or ENVIRONMENT.get("AWS_DEFAULT_REGION")):
        found["aws_region"] = found.get("region", "")
    return {key: found[key] for key in _PROFILE if found.get(key)}
