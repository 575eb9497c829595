"""Full text: an FTS5 table over the texts of the records, and what a user's words ask of it.

    words     for each word the rows whose text has it      reads the texts from `body`, keeps no copy

It is part of the database of the records and changes in the same transaction as they do. SQLite does not look
after a table whose content is elsewhere: a row's words are taken out, by its old text, before the text goes.
SQLite keeps the table's contents in others of its own, the `SHADOWS`.
"""

import sqlite3
from collections.abc import Sequence

# Stored: changing this needs a new format version.
TABLE = (
    "CREATE VIRTUAL TABLE words USING fts5(text, content='body', content_rowid='row', "
    "tokenize='unicode61 remove_diacritics 2')"
)
SHADOWS = ("words_data", "words_idx", "words_docsize", "words_config")

BUILD = "INSERT INTO words (words) VALUES ('rebuild')"
EMPTY = "INSERT INTO words (words) VALUES ('delete-all')"
INSERT = "INSERT INTO words (rowid, text) VALUES (?, ?)"
REMOVE = "INSERT INTO words (words, rowid, text) SELECT 'delete', row, text FROM body WHERE row = ?"

COUNT = "SELECT count(*) FROM words WHERE words MATCH ?"
# The plus keeps SQLite from asking FTS5 about one allowed row after the other.
ALLOWED = "AND +rowid IN (SELECT value FROM json_each(?))"
RANKED = "SELECT -bm25(words), rowid FROM words WHERE words MATCH ? {} ORDER BY bm25(words), rowid LIMIT ?"


def words_of(text: str) -> list[str]:
    """Return the words of a text, once each, as strings of FTS5.

    What stands between spaces becomes a quoted string, in which nothing but the quote has a meaning: whatever
    a user writes is looked for, none of it is syntax. What the tokenizer takes apart ("fast-food") is a
    phrase.

    Examples
    --------
    >>> words_of("tea AND co*")
    ['"tea"', '"AND"', '"co*"']
    """
    found = dict.fromkeys(text.replace("\0", " ").split())
    return ['"' + word.replace('"', '""') + '"' for word in found]


def any_of(words: Sequence[str]) -> str:
    """Return what FTS5 is asked for the documents that have any of these words."""
    return " OR ".join(words)


def check_known() -> None:
    """Raise RuntimeError if the SQLite of this Python was built without FTS5."""
    database = sqlite3.connect(":memory:")
    try:
        database.execute("CREATE VIRTUAL TABLE known USING fts5(text)")
    except sqlite3.OperationalError as error:
        raise RuntimeError(f"full_text=True: the SQLite of this Python has no FTS5 ({error})") from None
    finally:
        database.close()
