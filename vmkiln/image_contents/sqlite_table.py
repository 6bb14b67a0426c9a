"""The rows of a table of a SQLite file that somebody else wrote, read without SQLite: bytes in, values out; pure.

Every offset and length in it is a claim. A file that contradicts itself is refused, no page is read twice, and its
rows have together no more bytes than it has itself, so the work is at most in proportion to its size.
Source: "Database File Format" of SQLite: the header, pages of table b-trees, overflow pages, records.
"""

from collections.abc import Iterator

HEADER = b"SQLite format 3\0"
MOST_DEPTH = 20
MOST_ROWS = 200_000
MOST_VALUES = 100  # of a row
_INTERIOR, _LEAF = 5, 13
_SIZES = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)  # bytes of a value, by its serial type

Value = int | bytes | None


class SqliteRefused(ValueError):
    """The file is no SQLite database, or contradicts itself."""


def rows_of(file: bytes, table: str) -> Iterator[tuple[Value, ...]]:
    """Each row of a table, in its order; texts are bytes as they stand. Raises: `SqliteRefused`."""
    try:
        pages = _Pages(file)
        for row in pages.rows(1):
            if len(row) > 3 and row[0] == b"table" and row[1] == table.encode():
                yield from pages.rows(_whole(row[3]))
                return
    except IndexError as error:
        raise SqliteRefused("it ends too early") from error
    raise SqliteRefused(f"it has no table {table}")


def _whole(value: Value) -> int:
    if not isinstance(value, int):
        raise SqliteRefused("a page's number is none")
    return value


class _Pages:
    def __init__(self, file: bytes) -> None:
        if file[:16] != HEADER or len(file) < 512:
            raise SqliteRefused("it is no SQLite database")
        size = int.from_bytes(file[16:18])
        self._size = 65536 if size == 1 else size
        self._usable = self._size - file[20]
        if self._size < 512 or self._size & (self._size - 1) or self._usable < 480:
            raise SqliteRefused("its pages have an impossible size")
        self._file = memoryview(file)
        self._seen: set[int] = set()
        self._rows = 0
        self._left = len(file)  # bytes that rows may still have: many cells can claim the same ones

    def rows(self, root: int, depth: int = 0) -> Iterator[tuple[Value, ...]]:
        page = self._page(root)
        start = 100 if root == 1 else 0
        kind, cells = page[start], int.from_bytes(page[start + 3 : start + 5])
        if kind not in {_INTERIOR, _LEAF} or depth > MOST_DEPTH:
            raise SqliteRefused("a page is none of a table")
        pointers = start + (12 if kind == _INTERIOR else 8)
        for number in range(cells):
            at = int.from_bytes(self._part(page, pointers + 2 * number, 2))
            if kind == _INTERIOR:
                yield from self.rows(int.from_bytes(self._part(page, at, 4)), depth + 1)
            else:
                yield _record(self._payload(page, at))
        if kind == _INTERIOR:
            yield from self.rows(int.from_bytes(page[start + 8 : start + 12]), depth + 1)

    def _page(self, number: int) -> memoryview:
        page = self._file[(number - 1) * self._size : number * self._size] if number > 0 else self._file[:0]
        if len(page) != self._size or number in self._seen:
            raise SqliteRefused("a page is not there, or there twice")
        self._seen.add(number)
        return page

    @staticmethod
    def _part(page: memoryview, at: int, length: int) -> memoryview:
        part = page[at : at + length]
        if len(part) != length:
            raise SqliteRefused("a cell ends behind its page")
        return part

    def _payload(self, page: memoryview, at: int) -> bytes:
        length, at = _varint(page, at)
        _, at = _varint(page, at)  # the row's id
        self._rows, self._left = self._rows + 1, self._left - length
        if self._left < 0:
            raise SqliteRefused("its rows are longer than the file")
        if self._rows > MOST_ROWS:
            raise SqliteRefused(f"it has more than {MOST_ROWS} rows")
        most = self._usable - 35
        if length <= most:
            return bytes(self._part(page, at, length))
        least = (self._usable - 12) * 32 // 255 - 23
        here = least + (length - least) % (self._usable - 4)
        here = here if here <= most else least
        parts, left = [self._part(page, at, here)], length - here
        following = int.from_bytes(self._part(page, at + here, 4))
        while left:
            overflow = self._page(following)
            parts.append(overflow[4 : min(4 + left, self._usable)])
            left -= len(parts[-1])
            following = int.from_bytes(overflow[:4])
        return b"".join(parts)


def _varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    value = 0
    for number in range(9):
        byte = data[at + number]
        if number == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + number + 1
    raise AssertionError


def _record(payload: bytes) -> tuple[Value, ...]:
    end, at = _varint(payload, 0)
    value_at, values = end, list[Value]()
    if end > len(payload):
        raise SqliteRefused("a row's head is longer than the row")
    while at < end:
        if len(values) == MOST_VALUES:
            raise SqliteRefused(f"a row has more than {MOST_VALUES} values")
        kind, at = _varint(payload, at)
        if kind in {10, 11}:
            raise SqliteRefused("a value is of no known type")
        size = (kind - 12) // 2 if kind >= 12 else _SIZES[kind]
        raw = payload[value_at : value_at + size]
        if len(raw) != size:
            raise SqliteRefused("a value ends behind its row")
        value_at += size
        values.append(raw if kind >= 12 else None if kind in {0, 7} else _number(kind, raw))
    return tuple(values)


def _number(kind: int, raw: bytes) -> int:
    return kind - 8 if kind >= 8 else int.from_bytes(raw, signed=True)
