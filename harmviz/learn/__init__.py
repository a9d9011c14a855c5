"""Learn: a few short steps from one weight to a finding and its limits."""
