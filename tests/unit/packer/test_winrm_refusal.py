"""Why a login by WinRM came to nothing, in a sentence."""

import pytest

from vmkiln.packer.winrm_refusal import meaning


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("http response error: 401 - invalid content type", "forbids Basic"),
        ("x509: certificate signed by unknown authority", "another certificate"),
        ('Post "https://127.0.0.1:40131/wsman": x509: certificate signed by unknown authority', "another certificate"),
        ('Post "https://127.0.0.1:2222/wsman": EOF', "did not come to the end of its set-up"),
        ("Timeout waiting for WinRM.", "nothing answered"),
    ],
)
def test_packers_words_get_a_meaning(error: str, told: str) -> None:
    assert told in meaning(error)
    assert meaning(error).endswith(error)


def test_words_without_a_meaning_are_told_as_they_are() -> None:
    assert meaning("strange") == "Packer could not log in by WinRM: strange"
