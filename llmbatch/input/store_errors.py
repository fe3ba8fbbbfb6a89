"""Says what an error of an object store means: what went wrong where, what to do, and whether it may pass. Pure."""

import re

from llmbatch.core.errors import InputError
from llmbatch.input.address import Address, shown

__all__ = ["changed", "explained", "may_pass"]

_STATUS = re.compile(r"status code: (\d{3})")
_NETWORK = re.compile(r"(?:: |- )HTTP error: ")
_XML = re.compile(r"<Code>([^<]*)</Code>(?:.*?<Message>([^<]*)</Message>)?", re.DOTALL)
_CREDENTIALS = {
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE; AWS_SKIP_SIGNATURE=true if it is public.",
    "gs": "Set GOOGLE_APPLICATION_CREDENTIALS, or run gcloud auth application-default login.",
    "az": "Set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or a SAS token.",
}
_METADATA = ("169.254.", "metadata.google", "/metadata/identity")
"""What stores ask for credentials on a machine in the cloud, when nothing else names any."""
_LONGEST = 200


def may_pass(error: Exception) -> bool:
    """Say whether the same call may work in a moment: the network, or a store that is busy."""
    text = str(error)
    if any(word in text for word in _METADATA) or type(error).__name__ != "GenericError":
        return False
    status = _STATUS.search(text)
    return _NETWORK.search(text) is not None if status is None else status[1] in ("408", "429") or status[1] >= "500"


def explained(address: Address, error: Exception) -> InputError:
    """Return the error of a run for one of a store."""
    text, name = str(error), type(error).__name__
    found, where = _XML.search(text), shown(str(address))
    code = found[1] if found else ""
    status = _STATUS.search(text)
    if any(word in text for word in _METADATA) or "Account must be specified" in text:
        return InputError(f"cannot read {where}: no credentials were found", _CREDENTIALS.get(address.scheme))
    if code in ("NoSuchBucket", "ContainerNotFound"):
        return InputError(f"cannot read {where}: there is no bucket {address.bucket}", "Check its name.")
    if name in ("FileNotFoundError", "NotFoundError") or (status and status[1] in ("404", "410")):
        return InputError(f"cannot read {where}: there is nothing at this address", "Check the name.")
    if code in ("PermanentRedirect", "AuthorizationHeaderMalformed") or "incorrectly configured region" in text:
        return InputError(f"cannot read {where}: the bucket is in another region", "Set AWS_REGION to the bucket's.")
    if name in ("PermissionDeniedError", "UnauthenticatedError"):
        why = code or (f"status {status[1]}" if status else "no reason was told")
        hint = "A signed address may have expired." if address.is_web else _CREDENTIALS[address.scheme]
        return InputError(f"cannot read {where}: access was refused ({why})", hint)
    if "MissingContentLength" in text:
        hint = "Read it through a pipe: curl -L ADDRESS | llmbatch run -, or download it first."
        return InputError(f"cannot read {where}: the server does not say how long it is", hint)
    if "Could not parse path" in text or "invalid path" in text:
        return InputError(
            f"cannot read {where}: a key has an empty name, . or .. between slashes", "Rename the object."
        )
    if "error sending request" in text:
        return InputError(f"cannot read {where}: the server cannot be reached", "Check the address and the network.")
    reason = ": ".join(filter(None, found.groups())) if found else _reason(text)
    again = "Run the same command again: what has a result is kept."
    return InputError(f"cannot read {where}: {reason}", again if may_pass(error) else None)


def changed(address: Address) -> InputError:
    """Say that an object is no longer the one that was opened."""
    return InputError(
        f"{shown(str(address))} was replaced while it was read",
        "Run the same command again: what has a result is kept.",
    )


def _reason(text: str) -> str:
    """Return what an error says, in short and without the queries of addresses."""
    first = text.partition("\n\n")[0].partition("\n")[0]
    plain = re.sub(r"https?://\S+", lambda found: shown(found[0]), first)
    plain = re.sub(r"Error performing .*? in [\w.]+(, after \d+ retries)?(, max_retries: \d+)?", "", plain)
    plain = re.sub(r", retry_timeout: \S+\s*", "", plain)
    return re.sub(r"^Generic \w+ error: |\s*- (?=HTTP|Server)", "", plain).strip()[:_LONGEST] or "no reason was told"
