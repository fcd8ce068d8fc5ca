"""ONNX models by onnxruntime: asked after the answer, never while somebody waits; imported only when one is opened."""

from opportune.adapters.onnx.opened import OnnxModel, open_model

__all__ = ["OnnxModel", "open_model"]
