"""Recall channels: one file each says what configures it, how it is fitted and what is served of it.

`contract` says what such a file holds, `registry` names the kinds there are. What is served needs numpy alone: the
server imports these files, so ``fit`` imports what it is fitted with inside itself.
"""
