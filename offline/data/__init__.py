"""Tables in, tables out: split, statistics, sequences, lists. No file is read, nothing is trained."""
