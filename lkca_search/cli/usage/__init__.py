"""Use of the command line: commands that are imported when they are used, their help, and errors of their options."""
