"""From the checkpoint to ONNX, and the proof that both predict the same."""
