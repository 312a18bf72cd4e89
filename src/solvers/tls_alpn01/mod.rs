//! The tls-alpn-01 challenge (RFC 8737): a certificate shown on port 443 to who asks for the protocol `acme-tls/1`.
