"""The Playground: one prompt answered in step by the intact model and masked variants."""
