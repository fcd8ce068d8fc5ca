"""scikit-learn as the trainer: imported only when something is trained, never when something is served."""
