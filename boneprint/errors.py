"""What can go wrong, said in one line: file, finding, expectation, way out."""


class BoneprintError(Exception):
    """Root of every error a user may see; its text is one complete message."""


class ReadError(BoneprintError):
    """A file, a series or a picture cannot be used; ingestion reports it and goes on."""


class StoreError(BoneprintError):
    """A store cannot be opened, written, or does not fit the embedder in use."""
