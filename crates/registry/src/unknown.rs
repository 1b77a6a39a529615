//! Keeps what a newer version wrote. Pure.

use prost::encoding::{DecodeContext, decode_key, skip_field};

/// `new` with the fields of the message `old` whose numbers are not among `known` appended, byte
/// for byte. prost drops unknown fields when it decodes, so an older process that rewrites an
/// entry would otherwise erase what a newer one put there. Only the top level is looked at: what
/// stands inside a replaced field is replaced with it. An `old` that is no message adds nothing.
pub(crate) fn keep_unknown(old: &[u8], mut new: Vec<u8>, known: &[u32]) -> Vec<u8> {
    let written = new.len();
    let mut rest = old;
    while !rest.is_empty() {
        let field = rest;
        let skipped = decode_key(&mut rest).and_then(|(number, wire_type)| {
            skip_field(wire_type, number, &mut rest, DecodeContext::default())?;
            Ok(number)
        });
        match skipped {
            Ok(number) if known.contains(&number) => {}
            Ok(_) => new.extend_from_slice(&field[..field.len() - rest.len()]),
            Err(_) => {
                new.truncate(written);
                return new;
            }
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::{
        Message,
        encoding::{WireType, encode_key, encode_varint},
    };

    use super::*;

    const KNOWN: [u32; 2] = [1, 2];

    fn any_field() -> impl Strategy<Value = (u32, Vec<u8>)> {
        let number = prop_oneof![1_u32..6, 100_u32..110];
        let content = prop::collection::vec(any::<u8>(), 0..12);
        (number, 0..4_u8, any::<u64>(), content).prop_map(|(number, kind, scalar, content)| {
            let mut bytes = vec![];
            match kind {
                0 => {
                    encode_key(number, WireType::Varint, &mut bytes);
                    encode_varint(scalar, &mut bytes);
                }
                1 => {
                    encode_key(number, WireType::SixtyFourBit, &mut bytes);
                    bytes.extend(scalar.to_le_bytes());
                }
                2 => {
                    encode_key(number, WireType::ThirtyTwoBit, &mut bytes);
                    bytes.extend((scalar as u32).to_le_bytes());
                }
                _ => {
                    encode_key(number, WireType::LengthDelimited, &mut bytes);
                    encode_varint(content.len() as u64, &mut bytes);
                    bytes.extend(content);
                }
            }
            (number, bytes)
        })
    }

    proptest! {
        #[test]
        fn exactly_the_unknown_fields_are_kept(
            fields in prop::collection::vec(any_field(), 0..10),
            new in prop::collection::vec(any::<u8>(), 0..10),
        ) {
            let old: Vec<u8> = fields.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            let unknown = fields.iter().filter(|(number, _)| !KNOWN.contains(number));
            let expected: Vec<u8> = new
                .iter()
                .copied()
                .chain(unknown.flat_map(|(_, bytes)| bytes.clone()))
                .collect();
            prop_assert_eq!(keep_unknown(&old, new, &KNOWN), expected);
        }

        #[test]
        fn any_bytes_leave_the_new_value_in_front(
            old in prop::collection::vec(any::<u8>(), 0..64),
            new in prop::collection::vec(any::<u8>(), 0..10),
        ) {
            let merged = keep_unknown(&old, new.clone(), &KNOWN);
            prop_assert!(merged.starts_with(&new));
            let twice = keep_unknown(&merged[new.len()..], new, &KNOWN);
            prop_assert_eq!(twice, merged);
        }
    }

    #[test]
    fn a_message_reads_the_same_with_unknown_fields() {
        let new = prost_types::Timestamp {
            seconds: 5,
            nanos: 6,
        };
        let mut old = prost_types::Timestamp {
            seconds: 1,
            nanos: 2,
        }
        .encode_to_vec();
        encode_key(9, WireType::Varint, &mut old);
        encode_varint(300, &mut old);
        let merged = keep_unknown(&old, new.encode_to_vec(), &KNOWN);
        assert_eq!(
            prost_types::Timestamp::decode(merged.as_slice()).unwrap(),
            new
        );
        assert_eq!(merged.len(), new.encoded_len() + 3);
    }
}
