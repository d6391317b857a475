"""How compiled CPU kernels are built, cached and shared between threads."""
