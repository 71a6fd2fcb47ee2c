"""Training by several workers: processes that torchrun starts, each with its share of the data, and one model.

`launch.run` starts them, `workers.joined` makes them a group, `workers.current` is what training asks.
"""
