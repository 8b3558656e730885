"""Sessions of ONNX Runtime and OpenVINO, on exactly the device and in exactly the precision requested."""
