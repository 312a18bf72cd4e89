//! What CAA records allow (RFC 8659, RFC 8657). Pure: from records to a verdict.
