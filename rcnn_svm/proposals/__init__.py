"""Where an image may hold objects: proposers, files of proposals, and their recall.

A proposer is a callable, image -> boxes in the order in which a limit keeps them, with a JSON-able `settings`
from which `methods.make_proposer` builds it again.
"""
