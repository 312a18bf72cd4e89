//! TXT records published by external-dns, from DNSEndpoint objects.
