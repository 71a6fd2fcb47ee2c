"""The ranking model from PyTorch to ONNX."""
