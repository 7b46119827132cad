"""The roots that reports are traced back to: SHA-256 over the DER form of the makers' own certificates.

AMD: kdsintf.amd.com/vcek/v1/{Milan,Genoa,Turin}/cert_chain, the second certificate.
Intel: certificates.trustedservices.intel.com/IntelSGXRootCA.der.
A root that comes with the evidence is trusted only where it is one of these.
"""

from __future__ import annotations

from typing import Final

AMD: Final = frozenset(
    {
        "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",  # ARK-Milan
        "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",  # ARK-Genoa
        "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",  # ARK-Turin
    }
)
INTEL: Final = frozenset({"44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"})
