"""Pages for customers, without login: what they may decide about being contacted, and one-click unsubscribe."""
