"""A ladder of checkpoints of one model: safety tuning (refusals by SFT, then DPO) beside two control tunings."""
