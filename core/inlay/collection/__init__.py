"""Documents, metadata and vectors that never drift apart.

    collection reading opening                 what users and adapters call
    copying exchange                           copies of it, and documents for other programs
    searching selection fusion mmr             which documents, in which order
    store                                      records, vectors and an index, kept in step
    upkeep watching                            what is due after a change
    view ranking choice                        one state of all three, the nearest in it, and which index
    columns                                    what filters go by
    database records full_text                 documents in SQLite: the truth
    batch filters filter_sql metadata          what comes in, and what a filter means
    vectors disk                               floats in an append-only file

An import goes down this list, or stays in its line.
"""

from .collection import Collection
from .filters import Candidate
from .records import Record
from .searching import Hit

__all__ = ["Candidate", "Collection", "Hit", "Record"]
