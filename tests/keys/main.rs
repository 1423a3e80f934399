//! Keys: their formats, hashes, minting and transitions.

mod formats;
mod hashes;
mod legacy;
mod minting;
mod transitions;
