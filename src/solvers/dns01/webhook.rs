//! TXT records published through cert-manager's DNS-01 webhook contract: an aggregated API that a provider serves.
