"""Training: pictures changed as cameras do, boxes assigned to places, losses, the loop, checkpoints, distillation."""
