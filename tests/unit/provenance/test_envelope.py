"""A signed statement says what was signed and nothing else; whatever changes one of its bytes is refused."""

import base64
import json
import random
from typing import Any

import pytest
import tiers
from provenance import A_KEY, A_STATEMENT, OTHER_KEY

from vmkiln.errors import InputError
from vmkiln.provenance import image_key
from vmkiln.provenance.envelope import PAYLOAD_TYPE, ProvenanceRefused, opened, pre_authentication, signed

KEYS = {A_KEY.key_id: A_KEY.public}
ENVELOPE = signed(A_STATEMENT, A_KEY)


def changed(**members: Any) -> str:
    return json.dumps({**json.loads(ENVELOPE), **members}, separators=(",", ":"))


def test_what_was_signed_is_read_with_who_signed_it() -> None:
    assert opened(ENVELOPE, KEYS) == (A_STATEMENT, A_KEY.key_id)
    assert opened(f" {ENVELOPE}\n", KEYS)[0] == A_STATEMENT


def test_what_is_signed_is_the_type_and_the_payload_with_their_lengths() -> None:
    """The example of the protocol's own text."""
    assert pre_authentication("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_the_key_of_somebody_else_is_told_apart_from_a_damaged_signature() -> None:
    with pytest.raises(ProvenanceRefused, match="none of those to trust"):
        opened(ENVELOPE, {OTHER_KEY.key_id: OTHER_KEY.public})
    with pytest.raises(ProvenanceRefused, match="is not one of this statement"):
        opened(ENVELOPE, {A_KEY.key_id: OTHER_KEY.public})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        changed(payloadType="text/plain"),
        changed(payload=7),
        changed(signatures=[]),
        changed(signatures=7),
        changed(signatures=[7]),
        changed(signatures=[{"keyid": A_KEY.key_id, "sig": ""}]),
        changed(signatures=[{**json.loads(ENVELOPE)["signatures"][0], "cert": ""}]),
        changed(more=1),
        ENVELOPE.replace('{"payload":', '{"payload":"","payload":'),
        ENVELOPE.replace("==", "="),
    ],
    ids=lambda text: text[:24],
)
def test_what_is_no_envelope_of_ours_is_refused(text: str) -> None:
    with pytest.raises(ProvenanceRefused):
        opened(text, KEYS)


def test_bytes_that_are_written_in_another_way_are_refused() -> None:
    """The last letter before `==` has four bits that say nothing."""
    (one,) = json.loads(ENVELOPE)["signatures"]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = letters[letters.index(one["sig"][-3]) ^ 1]
    written = f"{one['sig'][:-3]}{other}=="
    assert base64.b64decode(written) == base64.b64decode(one["sig"])
    with pytest.raises(ProvenanceRefused, match="in another way"):
        opened(changed(signatures=[{**one, "sig": written}]), KEYS)


def test_a_signature_of_another_type_of_payload_is_not_taken_for_one() -> None:
    """An envelope that another tool signed with the same key, about another thing."""
    payload = base64.b64decode(json.loads(ENVELOPE)["payload"])

    def resigned(payload_type: str) -> str:
        signature = image_key.sign(A_KEY, pre_authentication(payload_type, payload))
        return changed(signatures=[{"keyid": A_KEY.key_id, "sig": base64.b64encode(signature).decode()}])

    assert opened(resigned(PAYLOAD_TYPE), KEYS)[0] == A_STATEMENT
    with pytest.raises(ProvenanceRefused):
        opened(resigned("application/json"), KEYS)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """A bit changed, a byte put in or taken out, or a piece moved."""
    at, other = chance.randrange(len(content)), chance.randrange(len(content))
    match chance.randrange(4):
        case 0:
            return content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :]
        case 1:
            return content[:at] + bytes([chance.randrange(256)]) + content[at:]
        case 2:
            return content[:at] + content[at + 1 :]
        case _:
            first, last = sorted((at, other))
            return content[last:] + content[first:last] + content[:first]


def refuses(envelope: bytes, public: str) -> bool:
    try:
        opened(envelope.decode(), image_key.keys_in(public, file_name="keys.pem"))
    except (ProvenanceRefused, UnicodeDecodeError, InputError):
        return True
    return False


def test_no_mutation_of_statement_signature_or_key_is_taken_for_the_original() -> None:
    """White space between the members of the JSON, and within PEM, says nothing, and is all that may differ."""
    chance, seen = random.Random(tiers.seed()), 0  # noqa: S311
    body = b"".join(A_KEY.public.encode().splitlines()[1:-1])
    while seen < tiers.examples(100):
        envelope, public = ENVELOPE.encode(), A_KEY.public
        if chance.randrange(4):
            envelope = mutated(envelope, chance)
            if says(envelope) == json.loads(ENVELOPE):
                continue
        else:
            other = mutated(body, chance)
            if key_in(other) == base64.b64decode(body):
                continue
            public = f"-----BEGIN PUBLIC KEY-----\n{other.decode(errors='replace')}\n-----END PUBLIC KEY-----\n"
        assert refuses(envelope, public), (envelope, public)
        seen += 1


def says(envelope: bytes) -> Any:
    try:
        return json.loads(envelope)
    except ValueError:
        return None


def key_in(body: bytes) -> bytes | None:
    try:
        return base64.b64decode(body)
    except ValueError:
        return None
