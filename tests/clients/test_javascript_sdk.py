"""The Azure SDK for JavaScript against the service."""

import os
import subprocess
from pathlib import Path

from real_clients import CLIENTS, SUBSCRIPTION, Az, Login


def test_the_life_of_a_template(login: Login, az: Az) -> None:
    assert (CLIENTS / "node_modules").is_dir(), f"{CLIENTS} is not complete: `script/test-clients` fills it"
    environment = {
        **os.environ,
        "NODE_EXTRA_CA_CERTS": str(login.authority),
        "CLIENTS": str(CLIENTS),
        "SERVICE_URL": login.url,
        "TENANT": login.tenant,
        "APP_ID": login.app_id,
        "APP_SECRET": login.secret,
        "SUBSCRIPTION": SUBSCRIPTION,
    }
    program = Path(__file__).with_name("life.mjs")
    done = subprocess.run(["node", program], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr
