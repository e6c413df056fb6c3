"""Networks to files and back: safetensors for research, ONNX for use."""
