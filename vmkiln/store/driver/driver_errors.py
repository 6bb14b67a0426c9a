"""What an error of a database's driver says: it is away, its disk is full, a text is none. Pure."""

import sqlite3

import psycopg

DISK_FULL = "53100"
AWAY_CLASSES = frozenset({"08", "28", "40", "53", "55", "57", "58", "XX"})  # the first two letters of an SQLSTATE
AWAY_STATES = frozenset({"25006", "25P03", "25P04"})  # a standby; a transaction that stood still, or took too long
REFUSED_TEXTS = frozenset({"22021", "22P05", None})  # None: the driver itself refused it
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def is_away(error: BaseException) -> bool:
    """Whether an error says that a database cannot be used now, and not that what it was asked is wrong; pure.

    The drivers' classes alone do not tell: psycopg's `InternalError` has transactions that the server ended because
    they stood still, and SQLite's `DatabaseError` has damaged files. Where there is no code, as when a connection
    breaks off, they do.
    Source: PostgreSQL, "Error Codes"; psycopg, "sqlstate exceptions"; sqlite.org, "Result Codes".
    """
    if state := getattr(error, "sqlstate", None):
        return state[:2] in AWAY_CLASSES or state in AWAY_STATES
    if is_damaged(error):
        return True
    drivers = psycopg.OperationalError | psycopg.InterfaceError | sqlite3.OperationalError | sqlite3.InterfaceError
    return isinstance(error, drivers)


def is_damaged(error: BaseException) -> bool:
    """Whether an error says that the database's file is no database, or a broken one; pure."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED


def is_unstorable(error: BaseException) -> bool:
    """Whether an error says that a text has NUL, which PostgreSQL cannot keep, or is no Unicode; pure."""
    is_nul = isinstance(error, psycopg.DataError) and error.sqlstate in REFUSED_TEXTS
    return is_nul or isinstance(error, UnicodeEncodeError)


def is_full(error: BaseException) -> bool:
    """Whether a database says that its disk is full; pure. Source: sqlite.org, "Result Codes"; PostgreSQL, 53100."""
    code = getattr(error, "sqlite_errorcode", 0)
    is_sqlite = code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE
    return is_sqlite or getattr(error, "sqlstate", None) == DISK_FULL
