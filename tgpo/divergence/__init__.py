"""How far a student is from a teacher on the student's own rollouts, without training."""
