"""The stage scene: one opener, one mask, one control, searched, measured and recorded."""
