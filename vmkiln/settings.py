"""What the operator may set: one frozen value, read once when a process starts (`settings_sources`), handed down.

Each setting is declared here once: its type, its default, and what `docs/settings.md` tells of it. A setting `x_y` is
`VMKILN_X_Y` in the environment and `x_y` in the settings file.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from vmkiln.errors import InputError
from vmkiln.setting_texts.declaration import Checkpoints, Description, LogFormat, LogLevel
from vmkiln.setting_texts.kept import Kept
from vmkiln.setting_texts.release_policy import Demand, check_release, demands_of
from vmkiln.setting_texts.servers import check_login, check_proxy, check_service_url, checked_object_store, ports_of

PREFIX = "VMKILN_"
FILE_VARIABLE = "VMKILN_SETTINGS_FILE"
FILE_NAME = "vmkiln.toml"


@dataclass(frozen=True)
class Settings(Kept):
    """Everything an operator may set, after `home`, under which everything is that vmkiln writes."""

    database_url: Annotated[
        str,
        Description(
            "A PostgreSQL database in place of the SQLite file.", flag="--database-url of `worker`", is_secret=True
        ),
    ] = field(default="", repr=False)
    keys: Annotated[
        Path | None,
        Description(
            "The folder of the keys that secrets are sealed with and tokens are signed with; a fleet's hosts share it. "
            "Left out: the state directory's name with `-keys`, beside it."
        ),
    ] = None
    object_store: Annotated[
        str,
        Description(
            "What the hosts of a fleet share: `az://CONTAINER`, `s3://BUCKET/PREFIX`, `file:///a/mounted/directory`.",
            flag="--object-store of `worker`",
        ),
    ] = field(default="", repr=False)
    blob_connection_string: Annotated[
        str,
        Description(
            "An Azure storage account for logs, scripts and VHDs, in place of the service's own blob server.",
            is_secret=True,
        ),
    ] = field(default="", repr=False)
    oidc_issuer: Annotated[
        str, Description("The issuer of tokens that somebody else issues, such as Entra ID; with `oidc_audience`.")
    ] = ""
    oidc_audience: Annotated[str, Description("The audience of those tokens.")] = ""
    login_issuer: Annotated[
        str,
        Description(
            "The issuer at which people log in to the portal (OpenID Connect), as its discovery document spells it; "
            "with `login_client_id` (docs/portal.md)."
        ),
    ] = ""
    login_client_id: Annotated[str, Description("What this service is called there: its client id.")] = ""
    login_client_secret_file: Annotated[
        Path | None, Description("A file with that client's secret; left out for a public client.")
    ] = None
    private_servers: Annotated[
        str,
        Description(
            "Servers outside the public Internet that callers may have the service fetch scripts, files and keys of "
            "issuers from, with commas: `scripts.corp.example`, `*.corp.example:8443`, `10.1.0.0/16`, `10.1.2.3:8080`."
        ),
    ] = ""
    http_proxy: Annotated[
        str,
        Description(
            "The proxy for `http`, `http://[USER:PASSWORD@]HOST:PORT`; the environment's `http_proxy` if unset."
        ),
    ] = field(default="", repr=False)
    https_proxy: Annotated[str, Description("The same for `https`; the environment's `https_proxy` if unset.")] = field(
        default="", repr=False
    )
    no_proxy: Annotated[
        str,
        Description(
            "What goes past the proxies, with commas: names with all below them, addresses, networks, `*`; the "
            "environment's `no_proxy` if unset."
        ),
    ] = ""
    ca_bundle: Annotated[
        Path | None,
        Description("Certificates of authorities (PEM) that are trusted besides the machine's own."),
    ] = None
    guest_proxy: Annotated[
        str,
        Description(
            "The proxy that steps find in `http_proxy` and `https_proxy`, `http://[USER:PASSWORD@]HOST:PORT`; it may "
            "have a private address. Nothing of it stays in the image."
        ),
    ] = field(default="", repr=False)
    guest_no_proxy: Annotated[str, Description("What those steps find in `no_proxy`, with commas.")] = ""
    guest_ca_bundle: Annotated[
        Path | None,
        Description("Certificates of authorities (PEM) that steps trust besides the image's own; none stays in it."),
    ] = None
    listen: Annotated[
        str, Description("Where the service listens: `HOST:PORT`; port 0 is any free one.", flag="--listen of `serve`")
    ] = "127.0.0.1:8443"
    service_url: Annotated[
        str,
        Description(
            "Where a fleet's hosts reach the service: `https://HOST[:PORT]`; they dial there for `vmkiln run shell`. "
            "Unset: where it listens."
        ),
    ] = ""
    tls_cert: Annotated[
        Path | None,
        Description("A certificate (PEM, with its chain) in place of the service's own.", flag="--tls-cert of `serve`"),
    ] = None
    tls_key: Annotated[Path | None, Description("The key of `tls_cert` (PEM).", flag="--tls-key of `serve`")] = None
    builds: Annotated[
        bool,
        Description(
            "Whether the service's machine builds too, or only a fleet's workers.", flag="--no-builds of `serve`"
        ),
    ] = True
    host_name: Annotated[
        str,
        Description(
            "What this host is called in the fleet; the machine's host name when left out.",
            flag="--name of `serve`, `worker`",
        ),
    ] = ""
    region: Annotated[
        str,
        Description(
            "This host takes only templates of this location; any when left out.", flag="--region of `serve`, `worker`"
        ),
    ] = ""
    more_locations: Annotated[
        str,
        Description("Where things can be made beside Azure's regions, `local` and each host's `region`, with commas."),
    ] = ""
    lease_seconds: Annotated[
        float,
        Description(
            "Seconds without a word from this host, and it is given up for dead.",
            flag="--lease-seconds of `serve`, `worker`",
            least=2,
        ),
    ] = 60.0
    log_level: Annotated[
        LogLevel | None,
        Description(
            "What is logged: this, and what weighs more. `debug` has each program that is started, as a line to paste "
            "into a shell. Left out: `info` for `serve` and `worker`, `warning` for other commands.",
            flag="--verbose (`debug`)",
        ),
    ] = None
    log_format: Annotated[
        LogFormat,
        Description("Lines for people, or one JSON object a line.", flag="--log-format of `serve`, `worker`"),
    ] = LogFormat.TEXT
    access_log: Annotated[
        bool,
        Description(
            "Whether each request is logged: method, path without query, status, milliseconds, caller, request id.",
            flag="--access-log of `serve`",
        ),
    ] = False
    audit_kept_days: Annotated[float, Description("How long the database keeps who did what, in days.", least=1)] = 90.0
    audit_most_acts: Annotated[
        int, Description("How many acts of it at most; of refused ones a tenth of that, beside them.", least=1000)
    ] = 1_000_000
    egress: Annotated[
        str,
        Description(
            "What builds may reach: `open`, `none`, or a list of names (docs/egress.md). Options and templates can "
            "only take away from it.",
            flag="--egress of `build`, `plan`, `validate`",
        ),
    ] = "open"
    allowed_residues: Annotated[
        str, Description("What may be left in images, with commas (docs/customizing.md); `all`: none is looked at.")
    ] = ""
    boot_gate: Annotated[bool, Description("Whether a result without validations is booted once.")] = True
    optimize_boot: Annotated[
        bool,
        Description("Whether `optimize.vmBoot` of a Linux template is done, with four measured boots at most."),
    ] = True
    release_policy: Annotated[
        str,
        Description(
            "What an image must have to be published, with commas: `hygiene`, `boot`, `cold`, `provenance` "
            "(docs/customizing.md)."
        ),
    ] = ""
    require_confinement: Annotated[
        bool,
        Description("No build begins on a host without a control group to give it and Landlock (`vmkiln doctor`)."),
    ] = False
    warm_starts: Annotated[
        bool,
        Description("Whether VMs go on from what was saved of one that had booted, or each of them is booted."),
    ] = True
    most_saved_vms_mib: Annotated[
        int, Description("What is saved of booted VMs in all, in MiB; what was used least lately goes first.", least=0)
    ] = 4096
    checkpoints: Annotated[
        Checkpoints,
        Description(
            "Of which builds the VM is kept behind each customizer, for later builds of the same template: `none`, "
            "those of `commands`, or `all`, the service's too; its templates can ask with the tag `vmkiln-checkpoints`."
        ),
    ] = Checkpoints.COMMANDS
    share_checkpoints: Annotated[
        bool,
        Description(
            "Whether templates of one resource group of one subscription, or of one user's commands, may begin behind "
            "each other's checkpoints: who may write one of them then has a part in the images of all."
        ),
    ] = False
    most_held_vms_mib: Annotated[
        int,
        Description("What failed VMs that are held may take of the disk in all, in MiB; 0: none lies there.", least=0),
    ] = 16_384
    held_minutes: Annotated[
        int,
        Description(
            "How long a failed VM is held of whose template errorHandling.onCustomizerError is `abort`, in minutes; "
            "0: not at all. `--on-error hold` has a time of its own.",
            least=0,
            most=1440,
        ),
    ] = 60
    reserved_memory_mib: Annotated[
        int, Description("Memory that a build VM leaves to its host and its container group, in MiB.", least=0)
    ] = 1024
    spared_memory_mib: Annotated[
        int, Description("Memory of this host that is not promised to runs, in MiB.", least=0)
    ] = 512
    least_free_disk_mib: Annotated[
        int, Description("No build begins with less free room than this in the state directory, in MiB.", least=0)
    ] = 4096
    platform_image_most_age_days: Annotated[
        int, Description("A cached platform image that is asked for as `latest` is got anew when it is older.", least=0)
    ] = 30
    source_watch_seconds: Annotated[
        float,
        Description("Seconds between two looks whether the sources of templates with a trigger changed.", least=1),
    ] = 60.0
    most_run_attempts: Annotated[
        int,
        Description(
            "A run whose host or service died is begun anew at most until its attempt of this number.", least=1
        ),
    ] = 10
    object_store_patience_seconds: Annotated[
        float, Description("How long a finished build waits for an object store that is away.", least=0)
    ] = 21_600.0
    dead_hosts_kept_seconds: Annotated[
        float, Description("How long a host that died can still be looked at, in seconds.", least=0)
    ] = 86_400.0
    most_connections: Annotated[
        int, Description("Connections at once; beyond, who waits longest without a request gives way.", least=16)
    ] = 2000
    most_connections_of_an_address: Annotated[
        int, Description("How many of them may be from one address, such as a proxy's.", least=4)
    ] = 500
    most_waiting_runs: Annotated[
        int, Description("Runs of one subscription that wait; beyond, a run is refused (`QuotaExceeded`).", least=1)
    ] = 1000
    most_images: Annotated[
        int, Description("Images of a subscription; beyond, a run or version is refused (`QuotaExceeded`).", least=1)
    ] = 10_000
    most_blob_mib: Annotated[
        int, Description("What the storage accounts of one subscription hold, in MiB (docs/storage.md).", least=1)
    ] = 10_240
    run_logs_kept_days: Annotated[
        float, Description("How long the log of a run is kept that ended, in days.", least=1)
    ] = 365.0
    most_run_log_mib: Annotated[
        int, Description("Such logs of one subscription in all, in MiB; the oldest go first.", least=1)
    ] = 10_240
    egress_closed_ports: Annotated[
        str,
        Description("TCP ports that no build reaches, with commas; Azure closes 25. 465 and 587 are mail's, too."),
    ] = "25"
    egress_flows_a_second: Annotated[
        int, Description("Connections that one build may open in a second, on the average.", least=1)
    ] = 100
    egress_flows_at_once: Annotated[int, Description("Connections of one build at once.", least=10)] = 1000
    egress_udp_flows_at_once: Annotated[
        int, Description("Of those by UDP: each takes a port of the host.", least=1)
    ] = 250
    egress_kbytes_a_second: Annotated[
        int, Description("What one build may send, and what it may receive, in KB a second; 0: no bound.", least=0)
    ] = 0
    access_token_seconds: Annotated[
        int, Description("How long a token lasts that the service issued, in seconds.", least=60)
    ] = 3600

    notice_events: Annotated[str, Description("What is told by webhook and e-mail (docs/notice.md), with commas.")] = (
        "run-ended,image-published,template-suspended"
    )
    notice_webhook: Annotated[str, Description("A web address that is sent CloudEvents, signed.", is_secret=True)] = (
        field(default="", repr=False)
    )
    notice_webhook_secret_file: Annotated[
        Path | None, Description("A file with the secret that they are signed with, which the receiver has too.")
    ] = None
    notice_mail_server: Annotated[
        str,
        Description("A mail server: `smtp://[USER@]HOST[:PORT]` with STARTTLS, or `smtps://[USER@]HOST[:PORT]`."),
    ] = ""
    notice_mail_password_file: Annotated[Path | None, Description("A file with the password of that user.")] = None
    notice_mail_from: Annotated[str, Description("Whom those e-mails are from: an address.")] = ""
    notice_mail_to: Annotated[str, Description("Whom they go to: addresses, with commas.")] = ""

    @property
    def oidc(self) -> tuple[str, str] | None:
        """The issuer and the audience of tokens that somebody else issues; none when there is no such issuer."""
        return (self.oidc_issuer, self.oidc_audience) if self.oidc_issuer else None

    @property
    def demands(self) -> frozenset[Demand]:
        """What an image must have to be published. Raises: `InputError` for a word that is no demand."""
        return demands_of(self.release_policy)

    @property
    def keys_folder(self) -> Path:
        """Where the keys are: apart from the database, and from a back-up of the state directory."""
        from vmkiln.sealing.key_ring import keys_beside  # noqa: PLC0415 (few commands need keys)

        return self.keys or keys_beside(self.home)

    @property
    def database_address(self) -> Path | str:
        """Where the database is: PostgreSQL's URL when one is set, else SQLite's file."""
        return self.database_url or self.database

    @property
    def engine_address(self) -> Path | str:
        """Where the durable engine keeps its steps: in the same PostgreSQL database, else in an SQLite file."""
        return self.database_url or self.home / "engine.sqlite"


@dataclass(frozen=True)
class Declared:
    """A setting as it was declared: its name, its type, its default (`NO_DEFAULT` for `home`), its description."""

    name: str
    kind: Any
    default: Any
    description: Description

    @property
    def variable(self) -> str:
        """What it is called in the environment."""
        return PREFIX + self.name.upper()


NO_DEFAULT = object()


def declared_settings() -> Iterator[Declared]:
    """Every setting, in the order in which they are told; pure."""
    hints = get_type_hints(Settings, include_extras=True)
    for one in sorted(fields(Settings), key=lambda one: one.name in Kept.__annotations__):  # those last
        kind, description = get_args(hints[one.name])
        yield Declared(one.name, kind, NO_DEFAULT if one.name == "home" else one.default, description)


def checked_together(settings: Settings) -> Settings:
    """The same settings, when they go together; pure. Raises: `InputError`."""
    if bool(settings.oidc_issuer) != bool(settings.oidc_audience):
        raise InputError("VMKILN_OIDC_ISSUER and VMKILN_OIDC_AUDIENCE go together; one of them is not set")
    has_secret = settings.login_client_secret_file is not None
    check_login(settings.login_issuer, settings.login_client_id, has_secret=has_secret)
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise InputError("--tls-cert and --tls-key go together; one of them is not set")
    checked_object_store(settings.object_store)
    check_service_url(settings.service_url)
    for name in ("http_proxy", "https_proxy", "guest_proxy"):
        check_proxy(name, getattr(settings, name))
    ports_of(settings.egress_closed_ports)
    check_release(settings.release_policy, allowed_residues=settings.allowed_residues)
    return settings
