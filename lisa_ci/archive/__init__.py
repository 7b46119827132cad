"""What runs left, kept for years: content-addressed, in Azure Blob Storage or in a folder of the same layout.

docs/archive.md describes the layout; ``layout`` is its code, ``store`` what a place has to be able to do.
"""
