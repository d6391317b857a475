"""The LightningModule, its optimiser, checkpoints and reports."""
