__version__ = "0.1.0"

# Of what is simulated, scanned and rendered from a seed. Whoever changes how that looks raises the number behind the
# version: what is kept on disk has it in its names or its manifest, and what has another is not used.
RENDERING = f"{__version__}-r1"
