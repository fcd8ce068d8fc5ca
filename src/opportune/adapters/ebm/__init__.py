"""InterpretML's explainable boosting machines as the glass-box trainer: imported only when something is trained."""
