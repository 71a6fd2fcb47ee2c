"""Training by several workers, on CPUs or GPUs: twins of the steps that train, started by hand or by torchrun."""
