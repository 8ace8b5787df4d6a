"""Other people's DRR engines behind one contract, run by a Python of their own that does not know boneprint."""
