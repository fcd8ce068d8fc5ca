"""Where ports meet products: one folder per product, each implementing roles from opportune.ports."""
