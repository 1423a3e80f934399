//! Little-endian numbers, as the script reads and writes them.

/// Appends the low `bytes` bytes of `number`. Every number fits: windows are at most a year, which is
/// 35 bits of milliseconds, and stamps are milliseconds since 1970.
pub(super) fn pack(packed: &mut Vec<u8>, number: u64, bytes: usize) {
    packed.extend(number.to_le_bytes().into_iter().take(bytes));
}
