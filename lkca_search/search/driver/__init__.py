"""Driver of a search: the queue of trials and its crash-safe commits.

May import `tracking`, `search.state` and `search.studies`; never `training` or Ray.
"""
