//! The record of orders that the guard counts, kept in a Secret for each MailIssuer.
