"""Reading tables of labelled text: files to records, their columns, and splits of their rows."""

from headwise.reading.columns import Columns, choose_columns
from headwise.reading.records import Records, from_columns
from headwise.reading.splits import Split, script, shared_texts, split
from headwise.reading.tables import read
from headwise.reading.writing import holds_lists, refuse_unfit, refuse_unwritable, write

__all__ = [
    "Columns",
    "Records",
    "Split",
    "choose_columns",
    "from_columns",
    "holds_lists",
    "read",
    "refuse_unfit",
    "refuse_unwritable",
    "script",
    "shared_texts",
    "split",
    "write",
]
