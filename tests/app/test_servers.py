"""The headers of a run: whose key goes where, and under which name."""

from typing import Any

import pytest

from llmbatch.app.servers import find_servers
from llmbatch.core.settings import ModelSettings

OURS = {"base_urls": ("http://localhost:1/v1",), "key_env": "K"}


@pytest.mark.parametrize(
    ("model", "carrier", "value"),
    [
        ({}, "authorization", "Bearer secret"),
        ({"auth_header": "Authorization"}, "authorization", "Bearer secret"),
        ({"auth_header": "X-API-Key"}, "x-api-key", "secret"),
        ({"auth_header": "X-My-Gate", "headers": {"X-My-Gate": "0"}}, "x-my-gate", "secret"),
    ],
)
def test_the_key_goes_in_one_header(model: dict[str, Any], carrier: str, value: str) -> None:
    endpoint = find_servers(ModelSettings(**OURS, **model), {"K": "secret"})
    assert [(name, said) for name, said in endpoint.headers.items() if "secret" in said] == [(carrier, value)]
    assert endpoint.redact("my secret") == "my [redacted]"


def test_the_certificates_of_the_flag_win_over_those_of_the_variable() -> None:
    environment = {"K": "secret", "SSL_CERT_FILE": "/variable.pem"}
    assert find_servers(ModelSettings(**OURS), {"K": "secret"}).ca_file is None
    assert find_servers(ModelSettings(**OURS), environment).ca_file == "/variable.pem"
    assert find_servers(ModelSettings(**OURS, ca_file="/flag.pem"), environment).ca_file == "/flag.pem"
