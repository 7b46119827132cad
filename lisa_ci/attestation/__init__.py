"""Evidence that a machine gives of itself, read and judged without asking the machine: pure, no I/O, no clock.

``event_log`` and ``ima`` replay what was measured into a TPM; ``snp``, ``tdx`` and ``hcl`` verify the reports by which
confidential machines prove what they are. All of it is hostile input: sizes are bounded, and whatever does not hold
raises ``Refused``. What could not be decided for want of evidence is named, never assumed.
"""
