//! From BER to DER. NSS, older Java and the Windows certificate store write PKCS#12 with lengths that are not definite
//! and strings in pieces; the ASN.1 library behind the other types reads DER.

use x509_parser::asn1_rs::{Any, Class, FromBer, Header, Length, Tag, ToDer};

/// How deep structures of PKCS#12 are nested, with room to spare.
const DEPTH: usize = 16;

/// The same value in DER, as far as lengths and octet strings go. `None` when it is no BER.
pub(super) fn to_der(bytes: &[u8]) -> Option<Vec<u8>> {
    let (rest, any) = Any::from_ber(bytes).ok()?;
    if rest.iter().any(|byte| *byte != 0) {
        return None;
    }
    let mut out = Vec::with_capacity(bytes.len());
    write(&any, DEPTH, &mut out)?;
    Some(out)
}

fn write(any: &Any<'_>, depth: usize, out: &mut Vec<u8>) -> Option<()> {
    if !any.header.is_constructed() {
        return tlv(any, false, any.data, out);
    }
    let deeper = depth.checked_sub(1)?;
    let pieces = any.class() == Class::Universal && any.tag() == Tag::OctetString;
    let mut content = Vec::with_capacity(any.data.len());
    let mut rest = any.data;
    while !rest.is_empty() {
        let (behind, child) = Any::from_ber(rest).ok()?;
        match pieces {
            // A string in pieces is what they are together.
            true if child.tag() == Tag::OctetString && !child.header.is_constructed() => content.extend(child.data),
            true => return None,
            false => write(&child, deeper, &mut content)?,
        }
        rest = behind;
    }
    tlv(any, !pieces, &content, out)
}

fn tlv(any: &Any<'_>, constructed: bool, content: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let header = Header::new(any.class(), constructed, any.tag(), Length::Definite(content.len()));
    header.write_der_header(out).ok()?;
    out.extend(content);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::to_der;

    #[test]
    fn lengths_become_definite_and_pieces_one() {
        let ber = [0x30, 0x80, 0x24, 0x80, 4, 1, b'a', 4, 2, b'b', b'c', 0, 0, 0xa0, 0x80, 5, 0, 0, 0, 0, 0];
        assert_eq!(to_der(&ber).unwrap(), [0x30, 9, 4, 3, b'a', b'b', b'c', 0xa0, 2, 5, 0]);
        let der = [0x30, 3, 2, 1, 5];
        assert_eq!(to_der(&der).unwrap(), der);
    }

    #[test]
    fn what_is_no_ber_is_refused() {
        for bad in
            [&[][..], &[0x30, 0x80], &[0x30, 5, 1], &[0x30, 0, 1], &[0x24, 3, 2, 1, 1], &[0x30, 0x80].repeat(100_000)]
        {
            assert_eq!(to_der(bad), None);
        }
    }
}
