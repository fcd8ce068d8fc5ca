"""Learning: from what was recorded to models, beliefs and judgements, and back to what is believed of the live ones."""
