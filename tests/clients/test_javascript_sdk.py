"""The Azure SDK for JavaScript against the service."""

from real_clients import Az, Login, javascript


def test_the_life_of_a_template(login: Login, az: Az) -> None:
    done = javascript(login, group="rg1", seconds=120)
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr
