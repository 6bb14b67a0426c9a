"""How runs end."""

import sqlalchemy as sa

from vmkiln.errors import HostUnfit
from vmkiln.run_state import code_of


def test_the_code_of_a_librarys_error_is_none_of_a_run() -> None:
    of_sqlalchemy = sa.exc.ArgumentError("a mistake of ours", code="gkpj")
    assert code_of(of_sqlalchemy) == code_of(sa.exc.ArgumentError("without")) == "InternalError"
    assert code_of(HostUnfit("no KVM")) == HostUnfit.code
