"""The `lkca-search` commands: they parse arguments, call the packages below and print. May import every package."""
