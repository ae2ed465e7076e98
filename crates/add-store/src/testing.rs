//! Tar files for tests, made block by block.

use tar::Header;

/// The header of a regular file with any name, which `tar::Builder` would refuse.
pub(crate) fn header(name: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

/// A member with its padding.
pub(crate) fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut member = header(name, bytes.len() as u64).as_bytes().to_vec();
    member.extend(bytes);
    member.resize(member.len().next_multiple_of(512), 0);
    member
}

/// Members, and the end mark.
pub(crate) fn finished(members: &[&[u8]]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}
