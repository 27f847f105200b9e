"""The command line `mdb` and the embedded server that it can start."""
