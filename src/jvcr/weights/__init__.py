"""Weight files: what they say of themselves, safetensors for research and ONNX for use, and the ones that ship."""
