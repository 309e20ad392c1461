"""Environment of a process: its checkout, packages, hardware, command line and locks of files. May import the root."""
