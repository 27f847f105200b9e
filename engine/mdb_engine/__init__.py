"""mdb-engine: one MongoDB cluster, a private slice of it for every app."""
