//! Looks into DNS: names, zones and their authoritative servers, bounded in time and size.
