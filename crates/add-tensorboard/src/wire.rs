//! Protobuf's wire format: numbered fields, each a variable-length integer, four or eight bytes, or a stretch of bytes.

/// Adds an integer; zero, the default, is left out.
pub(crate) fn integer(to: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        tag(to, field, 0);
        varint(to, value);
    }
}

/// Adds a `double`.
pub(crate) fn double(to: &mut Vec<u8>, field: u32, value: f64) {
    tag(to, field, 1);
    to.extend(value.to_le_bytes());
}

/// Adds a `float`, zero too: a summary's value is present or not.
pub(crate) fn float(to: &mut Vec<u8>, field: u32, value: f32) {
    tag(to, field, 5);
    to.extend(value.to_le_bytes());
}

/// Adds a string, bytes or a message.
pub(crate) fn bytes(to: &mut Vec<u8>, field: u32, value: &[u8]) {
    tag(to, field, 2);
    varint(to, value.len() as u64);
    to.extend(value);
}

/// Adds the message that `write` makes.
pub(crate) fn message(to: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    write(&mut inner);
    bytes(to, field, &inner);
}

fn tag(to: &mut Vec<u8>, field: u32, kind: u64) {
    varint(to, u64::from(field) << 3 | kind);
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Read<'b> {
    Integer(u64),
    Double(f64),
    Bytes(&'b [u8]),
    Float(f32),
}

/// The fields of a message; `None` where it is damaged.
pub(crate) fn fields(mut from: &[u8]) -> Option<Vec<(u64, Read<'_>)>> {
    let mut found = Vec::new();
    while !from.is_empty() {
        let tag = take_varint(&mut from)?;
        let value = match tag & 7 {
            0 => Read::Integer(take_varint(&mut from)?),
            1 => Read::Double(f64::from_le_bytes(*take(&mut from, 8)?.first_chunk()?)),
            2 => {
                let length = usize::try_from(take_varint(&mut from)?).ok()?;
                Read::Bytes(take(&mut from, length)?)
            }
            5 => Read::Float(f32::from_le_bytes(*take(&mut from, 4)?.first_chunk()?)),
            _ => return None,
        };
        found.push((tag >> 3, value));
    }
    Some(found)
}

fn take<'b>(from: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (taken, rest) = from.split_at_checked(count)?;
    *from = rest;
    Some(taken)
}

fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..10 {
        let byte = take(from, 1)?[0];
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_bytes_of_the_specification_and_are_read_back() {
        let mut message = Vec::new();
        // https://protobuf.dev/programming-guides/encoding: field 1 of 150 is 08 96 01, field 2 of "testing" 12 07 74 ….
        integer(&mut message, 1, 150);
        bytes(&mut message, 2, b"testing");
        assert_eq!(message, b"\x08\x96\x01\x12\x07testing");
        integer(&mut message, 3, 0);
        double(&mut message, 4, -0.5);
        float(&mut message, 5, 0.0);
        integer(&mut message, 6, u64::MAX);
        let read = fields(&message).unwrap();
        let want = [
            (1, Read::Integer(150)),
            (2, Read::Bytes(b"testing")),
            (4, Read::Double(-0.5)),
            (5, Read::Float(0.0)),
            (6, Read::Integer(u64::MAX)),
        ];
        assert_eq!(read, want);
    }

    #[test]
    fn a_cut_message_is_damaged() {
        for damaged in [&b"\x08"[..], b"\x08\x96", b"\x12\x07test", b"\x09\0\0", b"\x0b", &[0xff; 12]] {
            assert_eq!(fields(damaged), None, "{damaged:?}");
        }
    }
}
