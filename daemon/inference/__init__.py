"""The inference worker: frames of all cameras in, detections out, on the device that was asked for."""
