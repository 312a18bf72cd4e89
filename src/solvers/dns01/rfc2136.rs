//! TXT records published with dynamic updates (RFC 2136), signed with TSIG (RFC 8945).
