"""Secrets are known by how they stand in a text, and what is harmless stays readable."""

import json
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vmkiln.secrecy.secret_shapes import value_without_secrets, without_secrets

WORDS = st.text("abcdXYZ0123456789", min_size=8, max_size=24).map(lambda text: f"q{text}q")
SYMBOLS = st.text("abcXYZ019_/.+=~%-", min_size=8, max_size=24).map(lambda text: f"q{text}q")
ANY = st.text("abcXYZ019_/.+=~%-,;:!$&()*<>@#? ", min_size=8, max_size=24).map(lambda text: f"q{text}q")
NAMES = (
    "password", "PASSWORD", "Passwd", "pwd", "PGPASSWORD", "sslpassword", "DB_PASSWORD", "adminPassword", "passphrase",
    "secret", "client_secret", "clientSecret", "token", "access_token", "X-Auth-Token", "api_key", "apikey", "api-key",
    "x-api-key", "AZURE_STORAGE_KEY", "AccountKey", "SharedAccessKey", "SharedAccessSignature", "aws_secret_access_key",
    "AWS_SESSION_TOKEN", "aws_access_key_id", "OTEL_EXPORTER_OTLP_HEADERS", "signature", "credentials", "private_key",
    "connection_string", "AZURE_STORAGE_CONNECTION_STRING", "SAS", "AZURE_STORAGE_SAS_TOKEN", "authorization", "cookie",
)  # fmt: skip
FORMS = (
    "{name}={secret}", "{name}={secret} more", "export {name}={secret}", "{name}: {secret}", "  {name}: {secret}",
    "- {name}: {secret}", "{name} = {secret}", '{name}="{secret}"', "{name}='{secret}'", '{name}: "{secret}"',
    '{{"{name}": "{secret}"}}', '{{"{name}":"{secret}"}}', '"{{\\"{name}\\":\\"{secret}\\"}}"',
    "{{'{name}': '{secret}'}}", "--{name} {secret}", "--{name}={secret}", "-{name} {secret}",
    '--{name} "{secret}"', "Endpoint=x;{name}={secret};a=b",
    "<{name}>{secret}</{name}>", "{name}: |\n  {secret}\n  {secret}\n", "{name}: [{secret}, {secret}]",
    '"{name}": ["{secret}"]', "https://h.example/a?{name}={secret}", "https://h.example/a?x=1&{name}={secret}&y=2",
    "a {name} => '{secret}'",
)  # fmt: skip
OTHERS = (
    "https://user:{secret}@h.example/a", "https://{secret}@h.example/a", "https://user:a/{secret}@h.example/",
    "postgresql://u:{secret}@db/v", "https://h.example/?passw%6Frd={secret}", "https://h.example/?sig={secret}",
    "https://h.example/?X-Amz-Signature={secret}&X-Amz-Credential={secret}", "https://h.example/#access_token={secret}",
    "HTTPS_PROXY=http://user:{secret}@proxy:3128", "https_proxy=user:{secret}@proxy:3128",
    "Authorization: Bearer {secret}", "authorization: Basic {secret}", "Authorization: SharedKey acct:{secret}",
    "curl -H 'Authorization: token {secret}' x", "Proxy-Authorization: Digest {secret}", "Cookie: a={secret}",
    "Set-Cookie: session={secret}; Path=/", "bearer {secret}", "redis://:{secret}@cache:6379/0",
    "-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----", "-----BEGIN OPENSSH PRIVATE KEY-----\n{secret}",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\n{secret}\n-----END PGP PRIVATE KEY BLOCK-----",
    "git clone https://x-access-token:{secret}@github.example/a.git", "amqps://u:{secret}@mq/%2f",
)  # fmt: skip
TOKENS = (
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "vmk_" + "a1" * 16, "ghp_" + "a1" * 18,
    "glpat-" + "a1" * 10, "xoxb-123456789-abc", "AKIA" + "A1B2" * 4,
)  # fmt: skip


@given(secret=WORDS, name=st.sampled_from(NAMES), form=st.sampled_from(FORMS))
def test_what_has_a_secrets_name_is_masked(secret: str, name: str, form: str) -> None:
    assert secret not in without_secrets(form.format(name=name, secret=secret))


@given(secret=SYMBOLS, name=st.sampled_from(NAMES), form=st.sampled_from(FORMS))
def test_so_is_one_with_symbols(secret: str, name: str, form: str) -> None:
    assert secret not in without_secrets(form.format(name=name, secret=secret))


@given(secret=ANY, name=st.sampled_from(NAMES))
def test_so_is_one_with_any_letters_in_quotes(secret: str, name: str) -> None:
    for form in ('{name}="{secret}"', '{{"{name}": "{secret}"}}', "{name}='{secret}'", "{name}: {secret}"):
        assert secret not in without_secrets(form.format(name=name, secret=secret))


@given(secret=SYMBOLS, form=st.sampled_from(OTHERS))
def test_what_stands_where_secrets_stand_is_masked(secret: str, form: str) -> None:
    assume(not ("Cookie" in form and ";" in secret))
    assert secret not in without_secrets(form.format(secret=secret))


@pytest.mark.parametrize("token", TOKENS)
def test_tokens_of_known_kinds_are_masked_wherever_they_stand(token: str) -> None:
    assert token not in without_secrets(f"it said {token}.")


@given(secret=ANY, name=st.sampled_from(NAMES))
def test_members_of_plain_data_with_a_secrets_name_are_masked(secret: str, name: str) -> None:
    for value in ({name: secret}, {"a": [{name: {"b": [secret]}}]}, {"name": name, "value": secret},
                  {"name": name, "secureValue": secret}, ["run", f"--{name}", secret]):  # fmt: skip
        assert secret not in json.dumps(value_without_secrets(value))
    assert value_without_secrets({"secretNumber": 12345678, "flag": True}) == {"secretNumber": "***", "flag": True}


@pytest.mark.parametrize(
    "text",
    [
        "run 0123abcd of web ended Succeeded after 12 s",
        "GET https://host.example:8443/subscriptions/s/resourceGroups/rg?api-version=2024-11-01 200",
        "postgresql:///v?host=/run/postgresql&sslmode=require",
        "the author of this file is anna, and its authority is ours",
        '{"state": "Running", "started": "2026-01-01T00:00:00Z", "cpus": 4}',
        "2026-11-28 13:50:00 INFO vmkiln.fleet.hosting: host blue has room for 3 runs",
        "qemu-system-x86_64 -m 384 -cpu max -drive file=/var/lib/x.qcow2,format=qcow2",
        "The keyboard is set; monkeys and turkeys are unharmed: 3",
    ],
)
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "piece",
    ["x", "-", "a.", "password", "password=", 'password="', "<password", "proxy=", "key: |\n", "://", "a://", "@", "[",
     "\\", "secret: {", ";pwd=", "--token ", "-----BEGIN PRIVATE KEY-----", "eyJ", "eyJaaaaaaaa.", " ",
     "authorization:"],
)  # fmt: skip
def test_a_megabyte_of_anything_is_looked_through_in_time(piece: str) -> None:
    """Of what a hostile guest writes, too: twice as much takes about twice as long."""
    costs = []
    for letters in (2**17, 2**18):
        text = piece * (letters // len(piece))
        began = time.process_time()
        without_secrets(text)
        costs.append(time.process_time() - began)
    assert costs[1] < 3.2 * costs[0] + 0.2, costs
    assert costs[1] < 5, costs
