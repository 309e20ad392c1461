"""Environment of a process: its checkout, packages, hardware and command line. May import the root."""
