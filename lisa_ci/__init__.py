"""lisa-ci turns a Linux distribution's repository into a CI pipeline."""

__version__ = "0.1.0"
