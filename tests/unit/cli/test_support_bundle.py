"""The support bundle: what is in it, that no secret is, that it is made although something is broken."""

import json
import tarfile
from pathlib import Path

import pytest

from vmkiln.blobs.account_keys import AccountKeys
from vmkiln.cli import main, support_bundle
from vmkiln.cli.support_bundle import MOST_PART_BYTES, Masked
from vmkiln.run_state import Phase, RunState
from vmkiln.settings import Settings
from vmkiln.staging import staging_resource_group
from vmkiln.staging.customization_log import CustomizationLog
from vmkiln.staging.storage_account import LOGS
from vmkiln.store.database import opened, utc_now
from vmkiln.store.rows import RunRow

RUN_ID = "0123abcd-0000-0000-0000-000000000000"
PLANTED = {
    "connection": "c2VjcmV0LWFjY291bnQta2V5LW9mLXRoZS1zZXR0aW5ncw==",
    "environment": "planted-aws-secret-7f3a",
    "inline": "planted-inline-password-81",
    "member": "planted member of a template",
    "log": "planted-token-in-a-log-33",
    "signature": "PlantedSignature%2Bxyz",
    "url": "planted-url-password",
    "private key": "MIIEvQIBADANBgkqhkiGPlanted",
    "owner": "planted-owner-password",
    "login": "planted-login-token",
}
KEY = f"-----BEGIN PRIVATE KEY-----\n{PLANTED['private key']}\nAAAA\n-----END PRIVATE KEY-----"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A state directory with a run that failed, and with secrets wherever one may be."""
    home = tmp_path / "home"
    monkeypatch.setenv("VMKILN_HOME", str(home))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("VMKILN_BLOB_CONNECTION_STRING", f"AccountName=a;AccountKey={PLANTED['connection']}")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PLANTED["environment"])
    monkeypatch.chdir(tmp_path)
    settings = Settings(home)
    (home / "service").mkdir(parents=True)
    owner = {"tenant": "t", "appId": "a", "password": PLANTED["owner"]}
    (home / "service" / "owner.json").write_text(json.dumps(owner))
    (tmp_path / "config" / "vmkiln").mkdir(parents=True)
    contexts = {"current": "a", "contexts": {"a": {"url": "https://a", "token": PLANTED["login"]}}}
    (tmp_path / "config" / "vmkiln" / "contexts.json").write_text(json.dumps(contexts))
    key = AccountKeys(settings.blobs / "accounts.json").of("account1")[0]
    source = {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}
    step = {"type": "Shell", "name": "step", "inline": [f"export DB_PASSWORD={PLANTED['inline']} && echo plain-step"]}
    properties = {"source": source, "customize": [step], "distribute": [{"type": "VHD", "runOutputName": "vhd"}]}
    template = {
        "location": "local", "tags": {"adminPassword": PLANTED["member"], "team": "web"}, "properties": properties,
    }  # fmt: skip
    with opened(settings.database) as store:
        store.runs.add(RunRow(RUN_ID, "web", "rg", template, RunState.RUNNING, "", "", "", "", {}, utc_now(), None))
        store.runs.begin_phase(RUN_ID, Phase.CUSTOMIZING)
        group = staging_resource_group.create(settings.staging, store, name="IT_x", run_id=RUN_ID, tags={})
        store.staging.use_group("IT_x", run_id=RUN_ID)
        with CustomizationLog(group.storage_account.blob(f"{LOGS}/{RUN_ID}/customization.log"), RUN_ID) as log:
            log.write("the beginning " + "x" * 3 * MOST_PART_BYTES)
            log.write(f"curl -H 'Authorization: Bearer {PLANTED['log']}' https://a/b?sv=1&sig={PLANTED['signature']}")
            log.write(f"git clone https://user:{PLANTED['url']}@git.example.org/a; key {key}; {PLANTED['connection']}")
            log.write(f"{PLANTED['environment']} {PLANTED['owner']} {PLANTED['login']}")
            for line in KEY.splitlines():
                log.write(line)
            log.write("the end of the log")
        store.runs.move(RUN_ID, expected=[RunState.RUNNING], state=RunState.FAILED, message=f"token={PLANTED['log']}")
    return settings


def vmkiln(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main.main(list(arguments))
    return int(caught.value.code or 0)


def texts_in(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        found = {}
        for entry in archive.getmembers():
            file = archive.extractfile(entry)
            assert file is not None
            assert entry.mode == 0o600
            found[entry.name.partition("/")[2]] = file.read().decode()
        return found


def test_it_has_everything_and_no_secret(settings: Settings, tmp_path: Path) -> None:
    target = tmp_path / "bundle.tar.gz"
    assert vmkiln("support-bundle", "--run", RUN_ID[:6], "--output", str(target), "--no-examine") == 0
    assert target.stat().st_mode & 0o777 == 0o600
    found = texts_in(target)
    assert set(found) == {
        "README.txt", "versions.json", "settings.json", "doctor.json", "files.txt", "hosts.json", "runs.json",
        "vmkiln.service.log", "vmkiln-worker.service.log", "run/summary.json", "run/events.json", "run/plan.json",
        "run/customization.log", "run/validation.log", "run/network-rules.json",
    }  # fmt: skip
    whole = "\n".join(found.values())
    keys = {key for pair in AccountKeys(settings.blobs / "accounts.json").all().values() for key in pair}
    for secret in {*PLANTED.values(), *keys}:
        assert secret not in whole, secret
    # the places where they were are there
    assert "the end of the log" in found["run/customization.log"]
    assert "Authorization: ***" in found["run/customization.log"]
    assert "https://***@git.example.org" in found["run/customization.log"]
    plan = json.loads(found["run/plan.json"])
    assert "plain-step" in json.dumps(plan)
    assert plan["template"]["tags"] == {"adminPassword": "***", "team": "web"}
    assert [event["event"] for event in json.loads(found["run/events.json"])][1:3] != []
    assert any("Customizing began" in event["event"] for event in json.loads(found["run/events.json"]))
    assert json.loads(found["run/summary.json"])["state"] == "Failed"
    assert {row["name"] for row in json.loads(found["settings.json"])} >= {"home", "blob_connection_string"}
    assert all(name in found["README.txt"] for name in set(found) - {"README.txt"})


def test_each_part_has_a_limit_and_a_log_keeps_its_end(settings: Settings, tmp_path: Path) -> None:
    target = tmp_path / "bundle.tar.gz"
    assert vmkiln("support-bundle", "--output", str(target), "--no-examine") == 0
    found = texts_in(target)
    assert all(len(text) <= MOST_PART_BYTES + 100 for text in found.values())
    log = found["run/customization.log"]
    assert log.startswith("... the beginning was left out\n")
    assert "the beginning x" not in log
    assert settings.home.exists()


@pytest.mark.usefixtures("settings")
def test_it_says_no_to_an_unknown_run_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "bundle.tar.gz"
    examined: list[object] = []
    with monkeypatch.context() as patch:
        patch.setattr("vmkiln.host.doctor.examination.examine", examined.append)
        assert vmkiln("support-bundle", "--run", "9999", "--output", str(target)) == 2
    assert examined == [], "that takes minutes"
    assert vmkiln("support-bundle", "--run", "9999", "--output", str(target), "--no-examine") == 2
    assert "9999" in capsys.readouterr().err
    assert not target.exists()
    target.write_text("mine")
    assert vmkiln("support-bundle", "--output", str(target), "--no-examine") == 2
    assert target.read_text() == "mine"
    assert vmkiln("support-bundle", "--output", str(tmp_path / "none" / "b"), "--no-examine") == 2


def test_it_is_made_although_the_database_is_broken(settings: Settings, tmp_path: Path) -> None:
    settings.database.write_bytes(b"not a database " * 100)
    target = tmp_path / "bundle.tar.gz"
    assert vmkiln("support-bundle", "--output", str(target), "--no-examine") == 0
    found = texts_in(target)
    assert "settings.json" in found
    assert found["database.txt"]


def test_it_cleans_up_nothing(settings: Settings, tmp_path: Path) -> None:
    left = settings.runs / "9999"
    left.mkdir(parents=True)
    assert vmkiln("support-bundle", "--output", str(tmp_path / "b.tar.gz"), "--no-examine") == 0
    assert left.is_dir()


def test_what_an_examination_breaks_on_is_told_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    async def broken(**_: object) -> None:
        raise OSError("no such device")

    monkeypatch.setattr("vmkiln.host.doctor.examination.examine", broken)
    target = tmp_path / "bundle.tar.gz"
    assert vmkiln("support-bundle", "--output", str(target)) == 0
    assert "no such device" in texts_in(target)["doctor.json"]
    assert settings.home.exists()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('"password": "a \\"b c"', '"password": ***'),
        ("DB_TOKEN='a b' next", "DB_TOKEN=*** next"),
        ("api_key=abc;next=1", "api_key=***;next=1"),
        ("the password is asked for", "the password is asked for"),
        ("https://example.org:8443/a", "https://example.org:8443/a"),
        ("-----BEGIN RSA PRIVATE KEY-----\nAAAA", "***"),
    ],
)
def test_secrets_are_known_by_how_they_stand_in_a_text(text: str, shown: str) -> None:
    assert Masked(frozenset())(text) == shown


def test_every_variable_of_the_environment_that_sounds_secret_is_one() -> None:
    names = ("AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_CONNECTION_STRING", "GITHUB_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY")
    assert all(support_bundle.SECRET_NAME.search(name) for name in names)
    environment = {"SOME_TOKEN": "false", "A_TOKEN": "a" * 8, "PATH": "/usr/bin:/bin"}
    assert support_bundle.known_secrets(Settings(Path("/none")), environment) == {"a" * 8}
