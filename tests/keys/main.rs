//! Keys: their formats, hashes, minting and transitions.

mod formats;
mod hashes;
mod minting;
mod transitions;
