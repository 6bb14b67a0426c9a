"""Settings: flags, environment, file, defaults; where each comes from; what is no setting; what is secret."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkiln.errors import InputError
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.setting_texts.declaration import Checkpoints, LogFormat, LogLevel
from vmkiln.settings import Settings, declared_settings
from vmkiln.settings_sources import settings_from, settings_in_force, unknown_variables
from vmkiln.shown_settings import HARMLESS, secrets_of, shown

ISSUER = {"VMKILN_OIDC_ISSUER": "https://login.example.org/t/v2.0", "VMKILN_OIDC_AUDIENCE": "api://vmkiln"}
LOGIN = {"VMKILN_LOGIN_ISSUER": "https://login.example.org", "VMKILN_LOGIN_CLIENT_ID": "portal"}

SECRETS = st.text("abcXYZ0189_/:?#%+=,;.~-", min_size=6, max_size=20).map(lambda text: f"q{text}q")
URLS = (
    "postgresql://user:{secret}@db/v",
    "postgresql://{secret}@db/v",
    "postgresql://user:a@{secret}@db/v",
    "postgresql://db/v?passw%6Frd={secret}",
    "postgresql://db/v?sslmode=require&sslpassword={secret}",
    "postgresql://db/v?unknown={secret}",
    "postgresql://db/v#{secret}",
    "postgresql://db/v;password={secret}",
    "https://{secret}@login.example.org/",
    "host=db password={secret} ",
)


def in_file(home: Path, text: str, *, mode: int = 0o600) -> dict[str, str]:
    """A state directory with this settings file, as an environment that names it."""
    home.mkdir(exist_ok=True)
    path = home / "vmkiln.toml"
    path.write_text(text)
    path.chmod(mode)
    return {"VMKILN_HOME": str(home)}


def refusal(environment: dict[str, str], flags: dict[str, Any] | None = None) -> str:
    with pytest.raises(InputError) as caught:
        settings_in_force(environment, flags or {})
    return caught.value.message


@pytest.mark.parametrize(
    ("environment", "home"),
    [
        ({"VMKILN_HOME": "/srv/vmkiln", "XDG_STATE_HOME": "/x"}, "/srv/vmkiln"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/home/u"}, "/x/vmkiln"),
        ({"HOME": "/home/u"}, "/home/u/.local/state/vmkiln"),
        ({"VMKILN_HOME": "", "HOME": "/home/u"}, "/home/u/.local/state/vmkiln"),
    ],
)
def test_the_state_directory_follows_the_environment(environment: dict[str, str], home: str) -> None:
    assert settings_from(environment).home == Path(home)


def test_without_anything_set_the_settings_are_what_the_code_declares() -> None:
    assert settings_from({"VMKILN_HOME": "/v"}) == Settings(Path("/v"))


def test_an_outside_issuer_needs_its_audience() -> None:
    assert settings_from({"VMKILN_HOME": "/v", **ISSUER}).oidc == tuple(ISSUER.values())
    assert settings_from({"VMKILN_HOME": "/v"}).oidc is None
    for name, value in ISSUER.items():
        with pytest.raises(InputError, match="go together"):
            settings_from({"VMKILN_HOME": "/v", name: value})


def test_a_flag_comes_before_the_environment_before_the_file(tmp_path: Path) -> None:
    environment = in_file(tmp_path / "home", "lease_seconds = 7\nlisten = '[::1]:1'\nregion = 'file'")
    environment |= {"VMKILN_LISTEN": "127.0.0.1:2", "VMKILN_REGION": "environment"}
    found = settings_in_force(environment, {"listen": "127.0.0.1:3", "region": None})
    assert (found.settings.listen, found.settings.region, found.settings.lease_seconds) == (
        "127.0.0.1:3", "environment", 7.0,
    )  # fmt: skip
    origins = {name: found.origins[name] for name in ("home", "listen", "region", "lease_seconds", "builds")}
    assert origins == {
        "home": "environment", "listen": "flag", "region": "environment",
        "lease_seconds": str(tmp_path / "home/vmkiln.toml"), "builds": "default",
    }  # fmt: skip


def test_each_setting_is_read_from_the_environment_and_from_a_file(tmp_path: Path) -> None:
    of_kind: dict[Any, tuple[str, Any]] = {
        str: ("text", "text"), int: ("1234", 1234), float: ("4321.5", 4321.5), bool: ("no", False),
        Path | None: ("/a/file", Path("/a/file")), LogLevel | None: ("DEBUG", LogLevel.DEBUG),
        LogFormat: ("json", LogFormat.JSON), Checkpoints: ("all", Checkpoints.ALL),
    }  # fmt: skip
    together = {
        "oidc_issuer": ISSUER, "oidc_audience": ISSUER,
        "login_client_id": LOGIN, "login_issuer": LOGIN, "login_client_secret_file": LOGIN,
        "tls_cert": {"VMKILN_TLS_KEY": "/k"}, "tls_key": {"VMKILN_TLS_CERT": "/c"},
    }  # fmt: skip
    proxy = "http://user:word@proxy.example:3128"
    addresses = {"object_store": "file:///a", "http_proxy": proxy, "https_proxy": proxy, "guest_proxy": proxy}
    addresses |= {"egress_closed_ports": "25,465", "login_issuer": "https://login.example.org/people"}
    addresses["release_policy"] = "cold, boot"
    addresses["service_url"] = "https://images.example.org:8443"
    seen = 0
    for one in declared_settings():
        if one.name == "home":
            continue
        text, value = (addresses[one.name],) * 2 if one.name in addresses else of_kind[one.kind]
        others = {"VMKILN_HOME": str(tmp_path / one.name), **together.get(one.name, {})}
        others.pop(one.variable, None)
        assert getattr(settings_from({**others, one.variable: text}), one.name) == value
        in_file(tmp_path / one.name, f'{one.name} = "{text}"')
        assert getattr(settings_from(others), one.name) == value
        seen += 1
    assert seen == len(fields(Settings)) - 1


@pytest.mark.parametrize(
    ("issuer", "client_id", "secret"),
    [
        ("https://login.example.org", "", ""), ("", "portal", ""), ("", "", "/secret"),
        ("http://login.example.org", "portal", ""), ("login.example.org", "portal", ""),
        ("https://login.example.org?x=1", "portal", ""), ("https://a:b@login.example.org", "portal", ""),
        ("https://login.example.org:0", "portal", ""), ("https://[", "portal", ""),
    ],
)  # fmt: skip
def test_a_login_at_an_issuer_is_set_whole_and_over_tls(
    tmp_path: Path, issuer: str, client_id: str, secret: str
) -> None:
    texts = {"ISSUER": issuer, "CLIENT_ID": client_id, "CLIENT_SECRET_FILE": secret}
    given = {f"VMKILN_LOGIN_{name}": text for name, text in texts.items() if text}
    with pytest.raises(InputError, match="login_issuer"):
        settings_from({"VMKILN_HOME": str(tmp_path), **given})


@pytest.mark.parametrize(
    "others",
    [
        {"VMKILN_RELEASE_POLICY": "cold,clean"},
        {"VMKILN_ALLOWED_RESIDUES": "history"},
        {"VMKILN_RELEASE_POLICY": "provenance", "VMKILN_ALLOWED_RESIDUES": "history, ALL"},
    ],
)
def test_a_release_policy_that_nothing_can_meet_is_refused(tmp_path: Path, others: dict[str, str]) -> None:
    environment = {"VMKILN_HOME": str(tmp_path), "VMKILN_RELEASE_POLICY": "hygiene", **others}
    with pytest.raises(InputError, match="VMKILN_RELEASE_POLICY demands"):
        settings_from(environment)


def test_every_mistake_is_named_with_where_it_was_made(tmp_path: Path) -> None:
    environment = in_file(tmp_path, "lease_seconds = 1\nlog_levle = 'debug'\nbuilds = 'perhaps'")
    environment |= {"VMKILN_ACCESS_TOKEN_SECONDS": "soon", "VMKILN_LOG_FORMAT": "xml"}
    environment |= {"VMKILN_HELD_MINUTES": "1441"}
    told = refusal(environment, {"home": None, "reserved_memory_mib": -1}).splitlines()
    file = tmp_path / "vmkiln.toml"
    assert f"`lease_seconds` in {file}: input should be greater than or equal to 2" in told
    assert f"`log_levle` in {file} is no setting; did you mean `log_level`?" in told
    assert any(line.startswith("VMKILN_ACCESS_TOKEN_SECONDS in the environment: ") for line in told)
    assert any(line.startswith("VMKILN_LOG_FORMAT in the environment: ") and "'json'" in line for line in told)
    assert "VMKILN_HELD_MINUTES in the environment: input should be less than or equal to 1440" in told
    assert len(told) == 7


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "0"])
def test_a_lease_has_a_length(text: str) -> None:
    assert "VMKILN_LEASE_SECONDS" in refusal({"VMKILN_HOME": "/v", "VMKILN_LEASE_SECONDS": text})


def test_an_unknown_variable_is_named_with_the_nearest_one() -> None:
    environment = {"VMKILN_HOME": "/v", "VMKILN_DATABSE_URL": "x", "VMKILN_QQQQ": "", "VMKILN_TEST_CLIENTS": "/x"}
    assert settings_in_force({**environment, "_VMKILN_COMPLETE": "bash"}, {}).warnings == (
        "VMKILN_DATABSE_URL in the environment is no setting; did you mean VMKILN_DATABASE_URL?",
        "VMKILN_QQQQ in the environment is no setting; `vmkiln settings` shows those there are",
    )


def test_no_variable_of_our_own_scripts_and_units_is_called_unknown() -> None:
    root = Path(__file__).parents[2]
    texts = [
        path.read_text() for folder in ("script", "packaging") for path in (root / folder).rglob("*") if path.is_file()
    ]
    named = {name for text in texts for name in re.findall(r"\bVMKILN_[A-Z_]*[A-Z]\b", text)}
    assert "VMKILN_HOME" in named
    assert list(unknown_variables(dict.fromkeys(named, "x"))) == []


def test_a_file_elsewhere_may_say_where_state_lies(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    environment = {"HOME": "/home/u", "VMKILN_SETTINGS_FILE": str(file)}
    assert "no such file" in refusal(environment)
    file.write_text('home = "/srv/vmkiln"\n')
    found = settings_in_force(environment, {})
    assert (found.settings.home, found.origins["home"]) == (Path("/srv/vmkiln"), str(file))
    assert "lies in the state directory" in refusal(in_file(tmp_path / "home", 'home = "/elsewhere"'))


def test_a_file_with_a_secret_is_read_only_when_others_cannot(tmp_path: Path) -> None:
    text = 'database_url = "postgresql://u:hunter22@db/vmkiln"'
    assert settings_from(in_file(tmp_path, text)).database_url.endswith("@db/vmkiln")
    assert settings_from(in_file(tmp_path, text, mode=0o640)).database_url
    told = refusal(in_file(tmp_path, text, mode=0o644))
    assert "may read it" in told
    assert "hunter22" not in told
    assert "may write" in refusal(in_file(tmp_path, "builds = true", mode=0o606))
    assert settings_from(in_file(tmp_path, "builds = false", mode=0o644)).builds is False


@pytest.mark.parametrize("text", ["builds", "[a", "\xff\x00", "builds = true\nbuilds = true"])
def test_a_file_that_is_not_toml_is_refused_by_name(tmp_path: Path, text: str) -> None:
    environment = in_file(tmp_path, "")
    (tmp_path / "vmkiln.toml").write_bytes(text.encode("latin-1"))
    assert refusal(environment).startswith(f"{tmp_path / 'vmkiln.toml'} is not TOML")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("postgresql://u:hunter22@db:5432/v?sslmode=require", "postgresql://***@db:5432/v?sslmode=require"),
        ("postgresql:///v?host=/run/postgresql", "postgresql:///v?host=/run/postgresql"),
        ("postgresql://db/v?user=u&password=hunter22", "postgresql://db/v?user=***&password=***"),
        ("postgresql://u:hunter22/x@db/v", "postgresql://***@db/v"),
        ("postgresql://hunter22@db/v", "postgresql://***@db/v"),
        ("postgresql://db/v?passw%6Frd=hunter22&sslpassword=hunter22", "postgresql://db/v?***=***&sslpassword=***"),
        ("postgresql://db/v#hunter22", "postgresql://db/v#***"),
        ("postgresql://db/v;password=hunter22", "***"),
        ("postgresql://u:a@hunter22?x/y@db/v", "postgresql://***@db/v"),
        ("host=db password=hunter22", "***"),
        ("", ""),
    ],
)
def test_a_databases_password_is_never_shown(value: str, told: str) -> None:
    [declared] = [one for one in declared_settings() if one.name == "database_url"]
    assert shown(declared, value) == told


@given(secret=SECRETS, kind=st.sampled_from(URLS))
def test_no_part_of_a_url_that_may_be_secret_is_shown(secret: str, kind: str) -> None:
    url = kind.format(secret=secret)
    for declared in declared_settings():
        if declared.kind is str:
            assert secret not in str(shown(declared, url)), declared.name


def test_texts_are_shown_only_where_they_are_known_to_be_harmless() -> None:
    """A new setting is masked until somebody says that it is no secret."""
    for declared in declared_settings():
        if declared.kind is str:
            assert (shown(declared, "plain") == "plain") == (declared.name in HARMLESS)
            assert not (declared.name in HARMLESS and declared.description.is_secret)


def test_each_secret_is_masked_in_texts_whole_and_in_pieces() -> None:
    settings = Settings(
        Path("/v"),
        database_url="postgresql://u:hunter%2F22@db/v?password=hunter33",
        blob_connection_string="DefaultEndpointsProtocol=https;AccountName=a;AccountKey=c2VjcmV0c2VjcmV0==",
    )
    mask = SecretMask.of(secrets_of(settings))
    for text in ("hunter/22", "hunter%2F22", "hunter33", "c2VjcmV0c2VjcmV0==", settings.blob_connection_string):
        assert text not in mask(f"could not connect: {text}!")
    assert mask("host db, account a") == "host db, account a"
    assert all(secret not in repr(settings) for secret in secrets_of(settings))


def test_proxies_are_taken_from_the_environment_that_all_programs_know(tmp_path: Path) -> None:
    known = {
        "VMKILN_HOME": str(tmp_path), "http_proxy": "proxy.example:3128", "ALL_PROXY": "socks5://other.example",
        "NO_PROXY": "corp.example",
    }  # fmt: skip
    found = settings_from(known)
    assert (found.http_proxy, found.https_proxy, found.no_proxy) == ("http://proxy.example:3128", "", "corp.example")
    assert settings_from({**known, "VMKILN_HTTP_PROXY": "http://own.example:1"}).http_proxy == "http://own.example:1"


@pytest.mark.parametrize("wrong", ["proxy.example:3128", "socks5://a:1", "http://", "http://a:99999", "http://a:1/p?q"])
def test_what_is_no_proxy_is_refused_without_its_password(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(InputError, match="https_proxy is no proxy") as caught:
        settings_from({"VMKILN_HOME": str(tmp_path), "VMKILN_HTTPS_PROXY": wrong})
    assert wrong not in str(caught.value)


def test_a_proxys_password_is_a_secret_of_the_settings(tmp_path: Path) -> None:
    found = settings_from({"VMKILN_HOME": str(tmp_path), "VMKILN_HTTPS_PROXY": "http://me:p%40ss@proxy.example:1"})
    assert {"p%40ss", "p@ss"} <= secrets_of(found)
    [declared] = [one for one in declared_settings() if one.name == "https_proxy"]
    assert shown(declared, found.https_proxy) == "http://***@proxy.example:1"
