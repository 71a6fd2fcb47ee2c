"""Rankers: one file each says what configures it, how it is fitted and what is served of it.

`contract` says what such a file holds, `registry` names the kinds there are. The server reads recipes, so it imports
these files, and has neither PyTorch nor ``offline``: methods import what they need inside themselves.
"""
