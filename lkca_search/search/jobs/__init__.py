"""Jobs that drive searches on a Ray cluster, submitted from outside through Ray's Jobs API.

May import the package's root, `spec` and `records`; nothing else of `search`.
"""
