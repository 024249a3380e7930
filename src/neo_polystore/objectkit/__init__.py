"""What the object engines share: one way to count a batch and to query a listing."""
