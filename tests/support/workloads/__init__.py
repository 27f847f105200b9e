"""Random but valid work for a database: the same for the same source of chance."""
