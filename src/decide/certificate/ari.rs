//! Renewal as the CA suggests it (RFC 9773).
