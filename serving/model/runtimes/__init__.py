"""What runs a model file: ONNX Runtime or OpenVINO, on exactly the device and in exactly the precision that were asked for."""
