"""Functions and values of `lkca_search` as a library. May import all packages but `cli`, whose commands call them."""
