"""Every provider with every feature."""

import pytest

from llmbatch.core.outcome import Completion
from llmbatch.core.prompt import RecordError
from tests.matrix import FEATURES, LACKING, PROVIDERS, tried


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_has_a_feature_or_names_what_it_lacks(provider: str, feature: str) -> None:
    if (PROVIDERS[provider][1], feature) in LACKING:
        with pytest.raises(RecordError):
            tried(provider, feature)
        return
    verdict = tried(provider, feature)
    assert isinstance(verdict, Completion), verdict
    assert FEATURES[feature].good(verdict)
