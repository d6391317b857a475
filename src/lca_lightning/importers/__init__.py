"""Public data sets brought to the layout of `lca_lightning.datasets`, one small file each."""
