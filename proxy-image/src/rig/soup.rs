//! What properties feed the rig with: pieces of HTTP in any order, with noise between and in them.
//!
//! In: the pieces. Out: a strategy. Its first byte is for the property to decide by.

use proptest::prelude::*;

/// Makes fewer than `most` pieces into bytes; here and there one is another.
pub(super) fn soup(pieces: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        12 => proptest::sample::select(pieces).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    let pieces = proptest::collection::vec(piece, 0..most);
    let changes = proptest::collection::vec((any::<usize>(), any::<u8>()), 0..3);
    (any::<u8>(), pieces, changes).prop_map(|(how, pieces, changes)| {
        let mut bytes = [&[how], pieces.concat().as_slice()].concat();
        for (at, byte) in changes {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        bytes
    })
}
